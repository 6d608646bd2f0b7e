/*
 * Attempts in several steps, or with what the process holds: its disks, its ring, KVM, the connection
 * to the switch. Those that exhaust something return how much they got before they were stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/hostile/escape.h"

#define FLOOD 100000 /* that many is without a bound */

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static long connect_to(const struct sockaddr_un *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long ret;

	if (fd < 0)
		return -errno;
	/* Not by connect(): that is wrapped, and remembers the port's descriptor. */
	ret = result(syscall(SYS_connect, fd, addr, len));
	close(fd);
	return ret;
}

static long connect_path(struct escape_loot *loot)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", loot->text);
	return connect_to(&addr, sizeof(addr));
}

/* As many ".." as there could be, before it. */
static long connect_upwards(struct escape_loot *loot)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "../../../../..%.90s", loot->text);
	return connect_to(&addr, sizeof(addr));
}

static long connect_abstract(struct escape_loot *loot)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "%.100s", loot->text);
	return connect_to(&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
					     strlen(loot->text)));
}

static long bind_socket(struct escape_loot *loot)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "\0escape-bound"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long ret = fd < 0 ? -errno : result(bind(fd, (struct sockaddr *)&addr, sizeof(addr)));

	if (fd >= 0)
		close(fd);
	return ret;
}

/* Hands the switch what is not its own, without a message around it. The switch must cope. */
static long pass_descriptors(struct escape_loot *loot)
{
	char control[CMSG_SPACE(8 * sizeof(int))] = {0}, byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(8 * sizeof(int));
	for (int i = 0; i < 8; i++)
		memcpy(CMSG_DATA(cmsg) + i * (int)sizeof(int), i & 1 ? &loot->kvm : &loot->port,
		       sizeof(int));
	for (long n = 0; n < FLOOD; n++)
		if (sendmsg(loot->port, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return n;
	return FLOOD;
}

static long connect_flood(struct escape_loot *loot)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fds[4096];
	long n = 0;

	memcpy(addr.sun_path, loot->port_path, sizeof(addr.sun_path));
	for (; n < (long)ARRAY_SIZE(fds); n++) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fds[n] < 0)
			break;
		(void)syscall(SYS_connect, fds[n], &addr, sizeof(addr));
	}
	for (long i = 0; i < n; i++)
		close(fds[i]);
	return n;
}

static long exhaust_descriptors(struct escape_loot *loot)
{
	int first = -1;
	long n = 0;

	for (int fd; n < FLOOD && (fd = fcntl(2, F_DUPFD_CLOEXEC, 0)) >= 0; n++)
		first = first < 0 ? fd : first;
	for (int fd = first; fd >= 0 && fd < first + n; fd++)
		close(fd);
	return n;
}

/* MiB, all of it touched. */
static long exhaust(size_t max, int flags)
{
	static void *pieces[1 << 16];
	size_t n = 0;

	while (n < max && n < ARRAY_SIZE(pieces)) {
		pieces[n] = mmap(NULL, MIB, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
		if (pieces[n] == MAP_FAILED)
			break;
		memset(pieces[n++], 1, MIB);
	}
	for (size_t i = 0; i < n; i++)
		munmap(pieces[i], MIB);
	return (long)n;
}

static long exhaust_memory(struct escape_loot *loot)
{
	return exhaust((size_t)loot->number, MAP_PRIVATE);
}

static long exhaust_shared_memory(struct escape_loot *loot)
{
	return exhaust((size_t)loot->number, MAP_SHARED);
}

/* MiB that the log takes. */
static long flood_log(struct escape_loot *loot)
{
	static char line[4096];
	long bytes = 0;

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\n';
	for (ssize_t n; bytes < 1024 * (long)MIB && (n = write(2, line, sizeof(line))) > 0; bytes += n)
		;
	return bytes / (long)MIB;
}

static long write_beyond_disk(struct escape_loot *loot)
{
	return result(pwrite(loot->disk, "x", 1, (off_t)loot->disk_size));
}

static long write_read_only_disk(struct escape_loot *loot)
{
	return result(pwrite(loot->read_only_disk, "x", 1, 0));
}

static long grow_disk(struct escape_loot *loot)
{
	return result(ftruncate(loot->disk, (off_t)loot->disk_size * 1000));
}

static long punch_disk(struct escape_loot *loot)
{
	return result(fallocate(loot->disk, 0, 0, (off_t)loot->disk_size * 1000));
}

/* The ring is the device's: this is what whoever owns the process can write into it. */
static long by_ring(struct escape_loot *loot, const struct io_uring_sqe *want)
{
	struct io_uring_sqe *sqe = loot->ring ? io_uring_get_sqe(loot->ring) : NULL;
	struct io_uring_cqe *cqe;
	long ret;

	if (!sqe)
		return -EBADF;
	*sqe = *want;
	ret = io_uring_submit_and_wait(loot->ring, 1);
	if (ret < 0)
		return ret;
	if (io_uring_peek_cqe(loot->ring, &cqe) < 0)
		return -EAGAIN;
	ret = cqe->res;
	io_uring_cqe_seen(loot->ring, cqe);
	return ret;
}

static long ring_open(struct escape_loot *loot)
{
	struct io_uring_sqe sqe;

	io_uring_prep_openat(&sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	return by_ring(loot, &sqe);
}

static long ring_socket(struct escape_loot *loot)
{
	struct io_uring_sqe sqe = {.opcode = 45 /* IORING_OP_SOCKET */, .fd = AF_INET, .off = SOCK_STREAM};

	return by_ring(loot, &sqe);
}

/* A descriptor that is not its disk. */
static long ring_read(struct escape_loot *loot)
{
	static char buf[64];
	struct iovec iov = {buf, sizeof(buf)};
	struct io_uring_sqe sqe;

	io_uring_prep_readv(&sqe, 3, &iov, 1, 0);
	return by_ring(loot, &sqe);
}

static long ring_second_file(struct escape_loot *loot)
{
	static char buf[64];
	struct iovec iov = {buf, sizeof(buf)};
	struct io_uring_sqe sqe;

	io_uring_prep_readv(&sqe, 1, &iov, 1, 0);
	sqe.flags = IOSQE_FIXED_FILE;
	return by_ring(loot, &sqe);
}

static long ring_write_beyond(struct escape_loot *loot)
{
	struct iovec iov = {(void *)"x", 1};
	struct io_uring_sqe sqe;

	io_uring_prep_writev(&sqe, 0, &iov, 1, loot->disk_size);
	sqe.flags = IOSQE_FIXED_FILE;
	return by_ring(loot, &sqe);
}

static long kvm_create_vm(struct escape_loot *loot)
{
	return result(ioctl(loot->kvm, KVM_CREATE_VM, 0));
}

static long kvm_create_vcpu(struct escape_loot *loot)
{
	return result(ioctl(loot->vm, KVM_CREATE_VCPU, 7));
}

static long kvm_create_device(struct escape_loot *loot)
{
	struct kvm_create_device device = {.type = KVM_DEV_TYPE_VFIO};

	return result(ioctl(loot->vm, KVM_CREATE_DEVICE, &device));
}

/* Code in memory of one's own making: a page of "ret", made executable. */
static long run_own_code(struct escape_loot *loot)
{
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	page[0] = 0xc3;
	if (mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0)
		return -errno;
	((void (*)(void))(void *)page)();
	return 0;
}

static long execute_memory(struct escape_loot *loot)
{
	static char *const args[] = {"x", NULL};
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	if (fd < 0 || write(fd, "#!/bin/sh\nexit 7\n", 17) < 0)
		return -errno;
	return result(syscall(SYS_execveat, fd, "", args, args + 1, AT_EMPTY_PATH));
}

static long child_of(long pid)
{
	if (pid == 0)
		_exit(0);
	return result(pid);
}

static long by_clone(struct escape_loot *loot)
{
	return child_of(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static long by_clone3(struct escape_loot *loot)
{
	const struct clone_args args = {.exit_signal = SIGCHLD};

	return child_of(syscall(SYS_clone3, &args, sizeof(args)));
}

static long by_fork(struct escape_loot *loot)
{
	return child_of(syscall(SYS_fork));
}

static long fork_bomb(struct escape_loot *loot)
{
	long n = 0;

	for (; n < 4096; n++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid < 0)
			break;
	}
	return n;
}

static const struct escape_attempt roads[] = {
	{.name = "connect", .make = connect_path},
	{.name = "connect-upwards", .make = connect_upwards},
	{.name = "connect-abstract", .make = connect_abstract},
	{.name = "bind", .make = bind_socket},
	{.name = "pass-descriptors", .make = pass_descriptors},
	{.name = "connect-flood", .make = connect_flood},
	{.name = "exhaust-descriptors", .make = exhaust_descriptors},
	{.name = "exhaust-memory", .make = exhaust_memory},
	{.name = "exhaust-shared-memory", .make = exhaust_shared_memory},
	{.name = "flood-log", .make = flood_log},
	{.name = "write-beyond-disk", .make = write_beyond_disk},
	{.name = "write-read-only-disk", .make = write_read_only_disk},
	{.name = "grow-disk", .make = grow_disk},
	{.name = "allocate-disk", .make = punch_disk},
	{.name = "ring-open", .make = ring_open},
	{.name = "ring-socket", .make = ring_socket},
	{.name = "ring-read", .make = ring_read},
	{.name = "ring-second-file", .make = ring_second_file},
	{.name = "ring-write-beyond", .make = ring_write_beyond},
	{.name = "kvm-create-vm", .make = kvm_create_vm},
	{.name = "kvm-create-vcpu", .make = kvm_create_vcpu},
	{.name = "kvm-create-device", .make = kvm_create_device},
	{.name = "run-own-code", .make = run_own_code},
	{.name = "execute-memory", .make = execute_memory},
	{.name = "clone", .make = by_clone},
	{.name = "clone3", .make = by_clone3},
	{.name = "fork", .make = by_fork},
	{.name = "fork-bomb", .make = fork_bomb},
};

const struct escape_attempt *escape_roads(size_t *count)
{
	*count = ARRAY_SIZE(roads);
	return roads;
}
