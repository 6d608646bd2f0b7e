/* The system calls that fail_nth.so makes to fail, by the names the C library gives them. */
#undef _FILE_OFFSET_BITS /* both names of a call that has two are given here */

#include "tests/hostile/fail_nth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define CALL(e, type, name, params, args) WRAP(FAIL_SYSCALL, e, -1, type, name, params, args)
/* Returns the error, negative or not, instead of setting errno. */
#define CODE(e, name, params, args)                                                                \
	WRAP(FAIL_SYSCALL, (e) < 0 ? -(e) : (e), e, int, name, params, args)

/* Files */
CALL(ENOSPC, int, ftruncate, (int fd, off_t len), (fd, len))
CALL(ENOSPC, int, ftruncate64, (int fd, off64_t len), (fd, len))
CALL(EIO, int, fstat, (int fd, struct stat *st), (fd, st))
CALL(EIO, int, fstat64, (int fd, struct stat64 *st), (fd, st))
CALL(EACCES, int, stat, (const char *path, struct stat *st), (path, st))
CALL(EACCES, int, stat64, (const char *path, struct stat64 *st), (path, st))
CALL(EACCES, int, lstat, (const char *path, struct stat *st), (path, st))
CALL(EACCES, int, lstat64, (const char *path, struct stat64 *st), (path, st))
CALL(EIO, int, fstatfs64, (int fd, struct statfs64 *st), (fd, st))
CALL(EACCES, int, access, (const char *path, int mode), (path, mode))
CALL(ESPIPE, off64_t, lseek64, (int fd, off64_t at, int whence), (fd, at, whence))
CALL(EIO, ssize_t, pread64, (int fd, void *buf, size_t len, off64_t at), (fd, buf, len, at))
CALL(ENOSPC, ssize_t, pwrite64, (int fd, const void *buf, size_t len, off64_t at),
	(fd, buf, len, at))
CALL(EIO, ssize_t, preadv64v2,
	(int fd, const struct iovec *iov, int n, off64_t at, int flags), (fd, iov, n, at, flags))
CALL(EIO, int, fsync, (int fd), (fd))
CALL(EIO, int, fdatasync, (int fd), (fd))
CALL(EACCES, ssize_t, readlink, (const char *path, char *buf, size_t len), (path, buf, len))
CALL(EIO, int, unlink, (const char *path), (path))
CALL(EIO, int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
CALL(ENOSPC, int, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(ENOSPC, int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
CALL(EPERM, int, chmod, (const char *path, mode_t mode), (path, mode))
CALL(EPERM, int, fchmod, (int fd, mode_t mode), (fd, mode))
CALL(EPERM, int, chown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid))
CALL(EPERM, int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
CALL(EPERM, int, fchownat, (int dir, const char *path, uid_t uid, gid_t gid, int flags),
	(dir, path, uid, gid, flags))
CALL(EACCES, int, chdir, (const char *path), (path))
CALL(EINTR, int, flock, (int fd, int how), (fd, how))
WRAP(FAIL_SYSCALL, EMFILE, NULL, FILE *, fopen64, (const char *path, const char *how), (path, how))
WRAP(FAIL_SYSCALL, EMFILE, NULL, DIR *, opendir, (const char *path), (path))
WRAP(FAIL_SYSCALL, ENOMEM, NULL, DIR *, fdopendir, (int fd), (fd))
WRAP(FAIL_SYSCALL, EIO, NULL, struct dirent64 *, readdir64, (DIR *dir), (dir))
WRAP(FAIL_SYSCALL, EIO, NULL, char *, fgets, (char *s, int n, FILE *f), (s, n, f))

/* Closed all the same. */
int fclose(FILE *f)
{
	bool bad = fail_nth_fails(FAIL_SYSCALL, "fclose", ENOSPC, __builtin_return_address(0));
	static void *slot;
	int err = ((int (*)(FILE *))fail_nth_next(&slot, "fclose"))(f);

	if (bad)
		errno = ENOSPC;
	return bad ? EOF : err;
}

/* Where the third or fourth argument is optional, one of a register's width is passed on. */
#define VARIADIC(e, name, params, last, ...)                                                       \
	int name params                                                                            \
	{                                                                                          \
		static void *slot;                                                                 \
		va_list ap;                                                                        \
		long more;                                                                         \
	                                                                                              \
		if (fail_nth_fails(FAIL_SYSCALL, #name, e, __builtin_return_address(0)))                    \
			return -1;                                                                 \
		va_start(ap, last);                                                                \
		more = va_arg(ap, long);                                                           \
		va_end(ap);                                                                        \
		return ((int (*) params)fail_nth_next(&slot, #name))(__VA_ARGS__, more);           \
	}

VARIADIC(EMFILE, open, (const char *path, int flags, ...), flags, path, flags)
VARIADIC(EMFILE, open64, (const char *path, int flags, ...), flags, path, flags)
VARIADIC(EMFILE, openat, (int dir, const char *path, int flags, ...), flags, dir, path, flags)
VARIADIC(EMFILE, openat64, (int dir, const char *path, int flags, ...), flags, dir, path, flags)

/* A lock can always be given back. */
static bool is_unlock(int command, long argument)
{
	const struct flock *lock = (const struct flock *)argument;

	return (command == F_SETLK || command == F_OFD_SETLK) && lock->l_type == F_UNLCK;
}

#define FCNTL(name)                                                                                \
	int name(int fd, int command, ...)                                                         \
	{                                                                                          \
		static void *slot;                                                                 \
		va_list ap;                                                                        \
		long more;                                                                         \
		va_start(ap, command);                                                             \
		more = va_arg(ap, long);                                                           \
		va_end(ap);                                                                        \
		if (!is_unlock(command, more) &&                                                   \
		    fail_nth_fails(FAIL_SYSCALL, #name, EINVAL, __builtin_return_address(0)))      \
			return -1;                                                                 \
		return ((int (*)(int, int, ...))fail_nth_next(&slot, #name))(fd, command, more);   \
	}

FCNTL(fcntl)
FCNTL(fcntl64)

VARIADIC(ENOMEM, ioctl, (int fd, unsigned long request, ...), request, fd, request)

int prctl(int option, ...)
{
	static void *slot;
	va_list ap;
	long a[4];

	if (fail_nth_fails(FAIL_SYSCALL, "prctl", EPERM, __builtin_return_address(0)))
		return -1;
	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return ((int (*)(int, ...))fail_nth_next(&slot, "prctl"))(option, a[0], a[1], a[2], a[3]);
}

/* pidfd_open, close_range, openat2 ... */
long syscall(long number, ...)
{
	static void *slot;
	va_list ap;
	long a[6];

	if (fail_nth_fails(FAIL_SYSCALL, "syscall", ENOMEM, __builtin_return_address(0)))
		return -1;
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return ((long (*)(long, ...))fail_nth_next(&slot, "syscall"))(number, a[0], a[1], a[2], a[3], a[4],
							     a[5]);
}

/*
 * An eventfd of one's own can be read and written at any time: those calls do not count. Which
 * descriptors are such is noted when they are made and closed.
 */
static _Atomic bool always_ready[1024];

static bool is_ready(int fd)
{
	return fd >= 0 && fd < 1024 && always_ready[fd];
}

int eventfd(unsigned int value, int flags)
{
	static void *slot;
	int fd;

	if (fail_nth_fails(FAIL_SYSCALL, "eventfd", EMFILE, __builtin_return_address(0)))
		return -1;
	fd = ((int (*)(unsigned int, int))fail_nth_next(&slot, "eventfd"))(value, flags);
	if (fd >= 0 && fd < 1024)
		always_ready[fd] = true;
	return fd;
}

int close(int fd)
{
	static void *slot;

	if (is_ready(fd))
		always_ready[fd] = false;
	return ((int (*)(int))fail_nth_next(&slot, "close"))(fd);
}

ssize_t read(int fd, void *buf, size_t len)
{
	static void *slot;

	if (!is_ready(fd) &&
	    fail_nth_fails(FAIL_SYSCALL, "read", EIO, __builtin_return_address(0)))
		return -1;
	return ((ssize_t(*)(int, void *, size_t))fail_nth_next(&slot, "read"))(fd, buf, len);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	static void *slot;

	if (!is_ready(fd) &&
	    fail_nth_fails(FAIL_SYSCALL, "write", ENOSPC, __builtin_return_address(0)))
		return -1;
	return ((ssize_t(*)(int, const void *, size_t))fail_nth_next(&slot, "write"))(fd, buf, len);
}

/* Sockets and events */
CALL(EMFILE, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
CALL(EMFILE, int, socketpair, (int domain, int type, int protocol, int fds[2]),
	(domain, type, protocol, fds))
CALL(EADDRINUSE, int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
CALL(EADDRINUSE, int, listen, (int fd, int backlog), (fd, backlog))
CALL(ECONNREFUSED, int, connect, (int fd, const struct sockaddr *addr, socklen_t len),
	(fd, addr, len))
CALL(EMFILE, int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
	(fd, addr, len, flags))
CALL(ENOBUFS, int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
	(fd, level, name, value, len))
CALL(ENOBUFS, int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
CALL(ECONNRESET, ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
CALL(EPIPE, ssize_t, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags))
CALL(ENOMEM, ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
CALL(ENOBUFS, ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
CALL(EIO, ssize_t, sendfile64, (int out, int in, off64_t *at, size_t len), (out, in, at, len))
CALL(EMFILE, int, epoll_create1, (int flags), (flags))
/* What is in the set can always be changed and taken out. */
int epoll_ctl(int fd, int op, int target, struct epoll_event *event)
{
	static void *slot;

	if (op == EPOLL_CTL_ADD &&
	    fail_nth_fails(FAIL_SYSCALL, "epoll_ctl", ENOSPC, __builtin_return_address(0)))
		return -1;
	return ((int (*)(int, int, int, struct epoll_event *))fail_nth_next(&slot, "epoll_ctl"))(
		fd, op, target, event);
}

CALL(EINTR, int, epoll_pwait2,
	(int fd, struct epoll_event *events, int n, const struct timespec *timeout,
	 const sigset_t *mask),
	(fd, events, n, timeout, mask))
CALL(EINTR, int, poll, (struct pollfd *fds, nfds_t n, int timeout), (fds, n, timeout))
CALL(EMFILE, int, timerfd_create, (int clock, int flags), (clock, flags))
CALL(EINVAL, int, timerfd_settime,
	(int fd, int flags, const struct itimerspec *value, struct itimerspec *old),
	(fd, flags, value, old))

/* A library's pipe is between itself and itself: it is written and read like an eventfd. */
int pipe2(int fds[2], int flags)
{
	static void *slot;
	void *caller = __builtin_return_address(0);
	int err;

	if (fail_nth_fails(FAIL_SYSCALL, "pipe2", EMFILE, caller))
		return -1;
	err = ((int (*)(int[2], int))fail_nth_next(&slot, "pipe2"))(fds, flags);
	for (int i = 0; !err && i < 2; i++) {
		if (fds[i] < 1024)
			always_ready[fds[i]] = fail_nth_scope(caller) != FAIL_OWN;
	}
	return err;
}

CALL(EMFILE, int, dup2, (int from, int to), (from, to))
CALL(EMFILE, int, dup3, (int from, int to, int flags), (from, to, flags))
CALL(EINTR, ssize_t, getrandom, (void *buf, size_t len, unsigned int flags), (buf, len, flags))

/* Memory */
CALL(EMFILE, int, memfd_create, (const char *name, unsigned int flags), (name, flags))
WRAP(FAIL_SYSCALL, ENOMEM, MAP_FAILED, void *, mmap64,
	(void *at, size_t len, int prot, int flags, int fd, off64_t offset),
	(at, len, prot, flags, fd, offset))
CALL(ENOMEM, int, munmap, (void *at, size_t len), (at, len))
CALL(EAGAIN, int, madvise, (void *at, size_t len, int advice), (at, len, advice))
CALL(ENOMEM, long, mbind,
	(void *at, unsigned long len, int mode, const unsigned long *mask, unsigned long max,
	 unsigned int flags),
	(at, len, mode, mask, max, flags))
CALL(ENOMEM, long, set_mempolicy, (int mode, const unsigned long *mask, unsigned long max),
	(mode, mask, max))

/* Processes and threads */
CALL(EAGAIN, pid_t, fork, (void), ())
CALL(EACCES, int, execv, (const char *path, char *const argv[]), (path, argv))
CALL(EPERM, pid_t, setsid, (void), ())
CALL(EPERM, int, setgroups, (size_t n, const gid_t *groups), (n, groups))
CALL(EAGAIN, int, setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s))
CALL(EPERM, int, setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s))
CALL(EPERM, int, setrlimit64, (__rlimit_resource_t what, const struct rlimit64 *limit),
	(what, limit))
CALL(EINTR, pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
CALL(EPERM, int, kill, (pid_t pid, int signo), (pid, signo))
CALL(EPERM, int, sched_getaffinity, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))
CODE(EAGAIN, pthread_create,
	(pthread_t * thread, const pthread_attr_t *attr, void *(*fn)(void *), void *opaque),
	(thread, attr, fn, opaque))
CODE(EINVAL, pthread_setaffinity_np, (pthread_t thread, size_t size, const cpu_set_t *set),
	(thread, size, set))
CODE(-1, capng_change_id, (int uid, int gid, int flags), (uid, gid, flags))

/* Terminals */
CALL(EMFILE, int, posix_openpt, (int flags), (flags))
CALL(EACCES, int, grantpt, (int fd), (fd))
CALL(EINVAL, int, unlockpt, (int fd), (fd))
CODE(ENOTTY, ptsname_r, (int fd, char *buf, size_t len), (fd, buf, len))
CALL(EIO, int, tcgetattr, (int fd, struct termios *t), (fd, t))
CALL(EIO, int, tcsetattr, (int fd, int how, const struct termios *t), (fd, how, t))

/* liburing makes its system calls without the C library; it is told here in its place. */
struct io_uring;
struct io_uring_cqe;
CODE(-ENOMEM, io_uring_queue_init, (unsigned int n, struct io_uring *ring, unsigned int flags),
	(n, ring, flags))
CODE(-ENOMEM, io_uring_register_eventfd, (struct io_uring *ring, int fd), (ring, fd))
CODE(-EAGAIN, io_uring_submit, (struct io_uring *ring), (ring))
CODE(-EAGAIN, io_uring_submit_and_wait, (struct io_uring *ring, unsigned int n), (ring, n))
