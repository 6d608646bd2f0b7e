#include "vswitch/walls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/syscall_filter.h"

#define DROP_SIGNAL	 SIGUSR1 /* used for nothing else, and only before anybody is listened to */
#define DROP_PATIENCE_MS 10000u

static const uint32_t families[] = {AF_UNIX};
static const uint32_t protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
static const uint32_t fcntls[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC,
				  F_GET_SEALS, F_ADD_SEALS};
static uint32_t own_pid[1];
static const uint32_t prctls[] = {PR_SET_NO_NEW_PRIVS};
/* Uplinks: net_tap tells its link and is set down with it; a PCI device is stopped and unmapped. */
static const uint32_t ioctls[] = {SIOCGIFFLAGS, SIOCSIFFLAGS, VFIO_DEVICE_SET_IRQS,
				  VFIO_DEVICE_RESET, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA,
				  VFIO_GROUP_UNSET_CONTAINER};

static const struct syscall_rule process_rules[] = {
	/* The loop and the EAL's interrupt thread; lcores and their watchdog's signal. */
	SYSCALL_ALLOW(epoll_wait), SYSCALL_ALLOW(epoll_pwait2), SYSCALL_ALLOW(epoll_ctl),
	SYSCALL_ALLOW(epoll_create), SYSCALL_ALLOW(epoll_create1), SYSCALL_ALLOW(poll),
	SYSCALL_ALLOW(timerfd_create), SYSCALL_ALLOW(timerfd_settime), SYSCALL_ALLOW(eventfd2),
	SYSCALL_ALLOW(futex), SYSCALL_ALLOW_IF(tgkill, 0, own_pid), SYSCALL_ALLOW(rt_sigaction),
	SYSCALL_ALLOW(rt_sigprocmask), SYSCALL_ALLOW(rt_sigreturn),
	SYSCALL_ALLOW(restart_syscall), SYSCALL_ALLOW(sched_yield),
	SYSCALL_ALLOW(clock_gettime), SYSCALL_ALLOW(clock_nanosleep), SYSCALL_ALLOW(getpid),
	SYSCALL_ALLOW(gettid), SYSCALL_ALLOW(getuid), SYSCALL_ALLOW(geteuid),
	SYSCALL_ALLOW(getgid), SYSCALL_ALLOW(getegid), SYSCALL_ALLOW(getrandom),
	/* Control and vhost-user sockets, net_memif's, and the system log's (DPDK's words). */
	SYSCALL_ALLOW_IF(socket, 0, families), SYSCALL_ALLOW(connect), SYSCALL_ALLOW(bind),
	SYSCALL_ALLOW(listen), SYSCALL_ALLOW(accept), SYSCALL_ALLOW(accept4),
	SYSCALL_ALLOW(recvfrom), SYSCALL_ALLOW(recvmsg), SYSCALL_ALLOW(sendto),
	SYSCALL_ALLOW(sendmsg), SYSCALL_ALLOW(shutdown), SYSCALL_ALLOW(getsockopt),
	SYSCALL_ALLOW(setsockopt), SYSCALL_ALLOW(getsockname), SYSCALL_ALLOW(chmod),
	SYSCALL_ALLOW(fchmod), SYSCALL_ALLOW(unlink), SYSCALL_ALLOW(access),
	SYSCALL_ALLOW(faccessat2),
	/* Descriptors that peers sent, and those of uplinks. */
	SYSCALL_ALLOW(close), SYSCALL_ALLOW(read), SYSCALL_ALLOW(readv), SYSCALL_ALLOW(write),
	SYSCALL_ALLOW(writev), SYSCALL_ALLOW(dup), SYSCALL_ALLOW(dup3),
	SYSCALL_ALLOW(newfstatat), SYSCALL_ALLOW(fstatfs), SYSCALL_ALLOW(lseek),
	SYSCALL_ALLOW(readlink), SYSCALL_ALLOW_IF(fcntl, 1, fcntls),
	SYSCALL_ALLOW_IF(ioctl, 1, ioctls),
	/* Memory, never to be executed: peers' and net_memif's. */
	SYSCALL_ALLOW(brk), SYSCALL_ALLOW_IF(mmap, 2, protections),
	SYSCALL_ALLOW_IF(mprotect, 2, protections), SYSCALL_ALLOW(mremap), SYSCALL_ALLOW(munmap),
	SYSCALL_ALLOW(madvise), SYSCALL_ALLOW(memfd_create), SYSCALL_ALLOW(ftruncate),
	SYSCALL_ALLOW(get_mempolicy), /* eth_vhost */
	/* Lists that narrow this one. */
	SYSCALL_ALLOW(seccomp), SYSCALL_ALLOW_IF(prctl, 0, prctls),
	SYSCALL_ALLOW(exit), SYSCALL_ALLOW(exit_group),
};

static const struct syscall_rule lcore_rules[] = {
	SYSCALL_ALLOW(epoll_pwait2), /* asleep until a kick */
	SYSCALL_ALLOW(read),	     /* that kick, when it is ours or a device's; the EAL's pipe */
	SYSCALL_ALLOW(write),	     /* calls to guests; what was learned; answers to commands */
	SYSCALL_ALLOW(readv),	     /* net_tap's frames */
	SYSCALL_ALLOW(writev),
	SYSCALL_ALLOW(sendto), /* net_af_packet's ring */
	SYSCALL_ALLOW(poll),
	SYSCALL_ALLOW(rt_sigreturn),		/* the watchdog's signal; SIGBUS for memory withdrawn */
	SYSCALL_ALLOW_IF(mmap, 2, protections), /* which is laid over with other memory */
	SYSCALL_ALLOW(futex),
	SYSCALL_ALLOW(clock_gettime),	/* where the kernel has no quick clock */
	SYSCALL_ALLOW(restart_syscall), /* after a stop */
};
_Static_assert(ARRAY_SIZE(lcore_rules) <= 12, "a forwarding thread has a dozen system calls");

/* Capabilities are a thread's own; what a signal handler may do. */
static int drop_own_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break; /* without CAP_SETPCAP; only an execution could gain by it */
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, none) < 0)
		return -errno;
	return 0;
}

static atomic_uint threads_dropped;

static void drop_on_signal(int signo)
{
	int saved = errno;

	(void)signo;
	if (!drop_own_capabilities())
		atomic_fetch_add(&threads_dropped, 1);
	errno = saved;
}

/* Signals every other thread; how many there are, or -errno. */
static int signal_other_threads(int signo)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int count = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid <= 0 || tid == gettid())
			continue;
		if (tgkill(getpid(), tid, signo) < 0) {
			count = -errno;
			break;
		}
		count++;
	}
	closedir(dir);
	return count;
}

static int drop_capabilities(void)
{
	struct sigaction action = {.sa_handler = drop_on_signal, .sa_flags = SA_RESTART}, before;
	const struct timespec pause = {.tv_nsec = 1000000};
	int err = drop_own_capabilities();
	int others;

	if (!err && sigaction(DROP_SIGNAL, &action, &before) < 0)
		err = -errno;
	if (err)
		return err;
	atomic_store(&threads_dropped, 0);
	others = signal_other_threads(DROP_SIGNAL);
	for (unsigned int i = 0; i < DROP_PATIENCE_MS; i++) {
		if (others < 0 || atomic_load(&threads_dropped) == (unsigned int)others)
			break;
		nanosleep(&pause, NULL);
	}
	if (others >= 0 && atomic_load(&threads_dropped) != (unsigned int)others)
		others = -ETIMEDOUT;
	sigaction(DROP_SIGNAL, &before, NULL);
	return others < 0 ? others : 0;
}

int walls_raise(void)
{
	int err = drop_capabilities();

	if (err) {
		log_err("the threads' capabilities cannot be dropped: %s", strerror(-err));
		return err;
	}
	own_pid[0] = (uint32_t)getpid();
	return syscall_filter_install("vswitch", process_rules, ARRAY_SIZE(process_rules),
				      SYSCALL_FILTER_PROCESS);
}

int walls_raise_lcore(void)
{
	return syscall_filter_install("a forwarding thread", lcore_rules, ARRAY_SIZE(lcore_rules),
				      SYSCALL_FILTER_THREAD);
}

int walls_check_device(const char *devargs, char *why, size_t why_size)
{
	static const char *const drivers[] = {"net_null", "net_ring", "net_memif"};
	size_t len = strcspn(devargs, ",");

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		size_t driver = strlen(drivers[i]);

		/* By its beginning, as DPDK itself chooses; a bus or class would need other letters. */
		if (!strncmp(devargs, drivers[i], driver) && len >= driver &&
		    strspn(devargs + driver, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len - driver)
			return 0;
	}
	snprintf(why, why_size,
		 "\"%.*s\" needs rights that the switch gave up after its start; declare it there: "
		 "vmm-mgmt --switch-args '--uplink ID=DEVARGS' (at run time: net_null..., net_ring... and "
		 "net_memif...)",
		 (int)MIN(len, 64u), devargs);
	return -EPERM;
}
