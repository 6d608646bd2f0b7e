#include "mgmt/walls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/landlock.h"
#include "core/log.h"
#include "core/syscall_filter.h"

static const uint32_t families[] = { AF_UNIX };
static const uint32_t protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
static const uint32_t fcntls[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK,
				   F_DUPFD_CLOEXEC };
static uint32_t own_pid[1];

static const struct syscall_rule rules[] = {
	/* The loop, its timers and posts; children by pidfd. */
	SYSCALL_ALLOW(epoll_wait), SYSCALL_ALLOW(epoll_ctl), SYSCALL_ALLOW(epoll_create1),
	SYSCALL_ALLOW(timerfd_create), SYSCALL_ALLOW(timerfd_settime), SYSCALL_ALLOW(eventfd2),
	SYSCALL_ALLOW(pipe2), SYSCALL_ALLOW(poll), SYSCALL_ALLOW(pidfd_open),
	SYSCALL_ALLOW(rt_sigaction), SYSCALL_ALLOW(rt_sigprocmask), SYSCALL_ALLOW(rt_sigreturn),
	SYSCALL_ALLOW(restart_syscall), SYSCALL_ALLOW(clock_gettime), SYSCALL_ALLOW(futex),
	/* REST and control sockets. */
	SYSCALL_ALLOW_IF(socket, 0, families), SYSCALL_ALLOW(connect), SYSCALL_ALLOW(accept4),
	SYSCALL_ALLOW(recvfrom), SYSCALL_ALLOW(recvmsg), SYSCALL_ALLOW(sendto),
	SYSCALL_ALLOW(sendmsg), SYSCALL_ALLOW(shutdown), SYSCALL_ALLOW(getsockopt),
	SYSCALL_ALLOW(setsockopt), SYSCALL_ALLOW(getsockname), SYSCALL_ALLOW(getpeername),
	/* Files, as far as Landlock lets: the store, exit records, logs, the host's numbers. */
	SYSCALL_ALLOW(openat), SYSCALL_ALLOW(close), SYSCALL_ALLOW(read), SYSCALL_ALLOW(write),
	SYSCALL_ALLOW(writev), SYSCALL_ALLOW(pread64), SYSCALL_ALLOW(pwrite64),
	SYSCALL_ALLOW(lseek), SYSCALL_ALLOW(fdatasync), SYSCALL_ALLOW(fsync),
	SYSCALL_ALLOW(ftruncate), SYSCALL_ALLOW(unlink), SYSCALL_ALLOW(fchmod),
	SYSCALL_ALLOW(newfstatat), SYSCALL_ALLOW(access), SYSCALL_ALLOW(readlink),
	SYSCALL_ALLOW(getdents64), SYSCALL_ALLOW_IF(fcntl, 1, fcntls),
	/* Who and where we are; SQLite waits for a lock by sleeping. */
	SYSCALL_ALLOW(getpid), SYSCALL_ALLOW(gettid), SYSCALL_ALLOW(getuid),
	SYSCALL_ALLOW(geteuid), SYSCALL_ALLOW(getgid), SYSCALL_ALLOW(getegid),
	SYSCALL_ALLOW(uname), SYSCALL_ALLOW(sysinfo), SYSCALL_ALLOW(getrandom),
	SYSCALL_ALLOW(clock_nanosleep),
	/* Memory, never to be executed. */
	SYSCALL_ALLOW(brk), SYSCALL_ALLOW_IF(mmap, 2, protections),
	SYSCALL_ALLOW_IF(mprotect, 2, protections), SYSCALL_ALLOW(mremap), SYSCALL_ALLOW(munmap),
	SYSCALL_ALLOW(madvise),
	SYSCALL_ALLOW(exit), SYSCALL_ALLOW(exit_group),
	SYSCALL_ALLOW_IF(tgkill, 0, own_pid), /* abort() */
};

int walls_leave_root(uid_t uid)
{
	int cap = 0;

	/* Ends at the first capability this kernel does not have. */
	while (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
		cap++;
	/* Leaving uid 0 clears all capabilities (capabilities(7)), and no exec brings them back. */
	if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0 || setgroups(0, NULL) < 0 ||
	    setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		log_err("cannot become user %u without capabilities: %m", uid);
		return -EPERM;
	}
	return 0;
}

int walls_raise(const struct options *options)
{
	const struct landlock_rule places[] = {
		{ options->state_dir, LANDLOCK_WRITE },
		{ options->run_dir, LANDLOCK_READ },
		{ "/proc", LANDLOCK_READ },
		{ "/sys", LANDLOCK_READ },
	};
	int err = landlock_install("vmm-mgmt", places, ARRAY_SIZE(places));

	if (err && err != -ENOSYS && err != -EOPNOTSUPP)
		return err;
	own_pid[0] = (uint32_t)getpid();
	return syscall_filter_install("vmm-mgmt", rules, ARRAY_SIZE(rules), SYSCALL_FILTER_PROCESS);
}
