#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vswitch/walls.h"

/* How a child ends that does this: minus its signal, or its status; 0: act returned >= 0. */
static int outcome(long (*act)(void), bool as_lcore)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (walls_raise() || (as_lcore && walls_raise_lcore()))
			_exit(255);
		syscall(SYS_exit_group, act() < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static long execute(void)
{
	char *argv[] = {"true", NULL};

	return execve("/bin/true", argv, argv + 1);
}

static long start_process(void)
{
	return syscall(SYS_fork);
}

static long start_thread(void)
{
	return syscall(SYS_clone3, NULL, 0);
}

static long write_anothers_memory(void)
{
	return syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0);
}

static long signal_another(void)
{
	return syscall(SYS_kill, 1, 0);
}

static long speak_inet(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static long speak_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long speak_packet(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static long load_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long use_ring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long mount_something(void)
{
	return syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL);
}

static long become_another(void)
{
	return syscall(SYS_setresuid, 1, 1, 1);
}

#if !defined(__SANITIZE_ADDRESS__) /* whose run time is allowed these */
static long start_process_by_clone(void)
{
	return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
}

static long start_thread_by_clone(void)
{
	return syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, NULL, NULL, NULL, 0);
}

static long signal_anothers_thread(void)
{
	return syscall(SYS_tgkill, 1, 1, 0);
}

static long open_device(void)
{
	return open("/dev/null", O_RDONLY);
}

static long inject_input(void)
{
	return ioctl(0, TIOCSTI, "x");
}

static long run_memory(void)
{
	return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
}

static long become_undumpable(void)
{
	return syscall(SYS_prctl, 4, 0, 0, 0, 0);
}
#endif

static void forbidden_to_all(void **state)
{
	long (*const acts[])(void) = {
		execute,	start_process, start_thread, write_anothers_memory, signal_another,
		speak_inet,	speak_netlink, speak_packet, load_bpf,		    use_ring,
		mount_something, become_another,
#if !defined(__SANITIZE_ADDRESS__)
		open_device,	inject_input,  run_memory,   become_undumpable,
		signal_anothers_thread, start_process_by_clone, start_thread_by_clone,
#endif
	};

	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		print_message("call %zu\n", i);
		assert_int_equal(outcome(acts[i], false), -SIGSYS);
		assert_int_equal(outcome(acts[i], true), -SIGSYS);
	}
}

static long make_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long send_descriptor(void)
{
	return sendmsg(-1, &(struct msghdr){0}, 0) < 0 && errno == EBADF ? 0 : -1;
}

static long remove_file(void)
{
	return unlink("/nowhere/at/all") < 0 && errno == ENOENT ? 0 : -1;
}

static void forbidden_to_lcores(void **state)
{
	long (*const acts[])(void) = {make_unix_socket, send_descriptor, remove_file};

	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		assert_int_equal(outcome(acts[i], false), 0);
		assert_int_equal(outcome(acts[i], true), -SIGSYS);
	}
}

/* What forwarding does. */
static bool forward(int kick)
{
	uint64_t one = 1;
	struct epoll_event event;
	const struct timespec none = {0};

	return write(kick, &one, sizeof(one)) == sizeof(one) &&
	       read(kick, &one, sizeof(one)) == sizeof(one) &&
	       epoll_pwait2(-1, &event, 1, &none, NULL) < 0 && errno == EBADF &&
	       writev(kick, &(struct iovec){&one, sizeof(one)}, 1) == sizeof(one) &&
	       syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0) > 0;
}

/* A child behind the walls that has forwarded well, and waits. */
static pid_t start_lcore(void)
{
	int told[2], kick = eventfd(0, EFD_NONBLOCK);
	char byte = 'n';
	pid_t pid;

	assert_int_equal(pipe(told), 0);
	pid = fork();
	if (!pid) {
		if (!walls_raise() && !walls_raise_lcore() && forward(kick))
			byte = 'y';
		if (write(told[1], &byte, 1) == 1)
			for (;;)
				syscall(SYS_poll, NULL, 0, -1);
	}
	close(told[1]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	close(told[0]);
	close(kick);
	return pid;
}

static void forwarding_goes_on_without_capabilities(void **state)
{
	static const char *const none[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
	pid_t pid = start_lcore();
	char text[4096] = "";
	const char *line;
	int fd;

	snprintf(text, sizeof(text), "/proc/%d/status", (int)pid);
	fd = open(text, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* An ordinary user cannot empty the bounding set; it has nothing to gain by it, either. */
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		line = strstr(text, none[i]);
		assert_non_null(line);
		if (i != 3 || !geteuid())
			assert_memory_equal(line + 6, ":\t0000000000000000\n", 19);
	}
	assert_non_null(strstr(text, "\nNoNewPrivs:\t1\n"));
	assert_non_null(strstr(text, "\nSeccomp:\t2\n"));
}

static void devices_at_run_time(void **state)
{
	static const char *const taken[] = {"net_null0", "net_null_a-b,copy=0", "net_ring",
					    "net_memif0,role=client,socket=/x"};
	static const char *const refused[] = {
		"", ",,,=", "net_tap0,iface=x", "net_af_packet0,iface=lo", "0000:03:00.0", "net_nul",
		"net_null:x", "net_null0/class=eth", "vdev:net_null0", "net_pcap0,tx_pcap=/etc/x",
		"eth_vhost0,iface=/x", "bus=vdev,name=net_null0", "net_null=x"};
	char why[256];

	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		assert_int_equal(walls_check_device(taken[i], why, sizeof(why)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		why[0] = '\0';
		assert_int_equal(walls_check_device(refused[i], why, sizeof(why)), -EPERM);
		assert_non_null(strstr(why, "--uplink"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden_to_all),
		cmocka_unit_test(forbidden_to_lcores),
		cmocka_unit_test(forwarding_goes_on_without_capabilities),
		cmocka_unit_test(devices_at_run_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
