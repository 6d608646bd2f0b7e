/*
 * The system calls of a vmm whose guest runs. Where an argument is a command, only the commands in
 * use are allowed. None opens a file, makes a process or maps memory executable; a descriptor comes
 * into being by accept, by socket (Unix only), or as eventfd, epoll or KVM statistics.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>

#include "vmm/sandbox.h"

/* A device's register handlers raise interrupts and move doorbells; the rest is the vCPU's own. */
#define KVM_OF_DEVICES                                                                             \
	KVM_IRQ_LINE, KVM_SIGNAL_MSI, KVM_SET_GSI_ROUTING, KVM_IRQFD, KVM_IOEVENTFD

static const uint32_t vcpu_ioctls[] = {
	KVM_OF_DEVICES, KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS, /* to say where it failed */
};

static const uint32_t main_ioctls[] = {
	KVM_OF_DEVICES,
	KVM_KVMCLOCK_CTRL,
	KVM_GET_STATS_FD,
	KVM_SET_USER_MEMORY_REGION, /* taken away at the end */
	/* Reset: */
	KVM_SET_IRQCHIP, KVM_SET_PIT2, KVM_SET_XCRS, KVM_SET_SREGS, KVM_GET_SREGS, KVM_SET_REGS,
	KVM_SET_XSAVE, KVM_SET_LAPIC, KVM_SET_MSRS, KVM_SET_VCPU_EVENTS, KVM_SET_DEBUGREGS,
	KVM_SET_MP_STATE,
	TCSETS, /* the terminal of a console on standard input, as it was before */
};

static const uint32_t protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
static const uint32_t advice[] = {MADV_DONTNEED};
static const uint32_t fcntl_commands[] = {F_GETFL, F_SETFL, F_DUPFD_CLOEXEC};
static const uint32_t families[] = {AF_UNIX};
static const uint32_t stat_flags[] = {AT_EMPTY_PATH}; /* fstat(): a descriptor, no name */
/* To our own threads, as no other process can be seen: the kick, abort(), and a second try. */
static const uint32_t signals[] = {SIGUSR1, SIGABRT};

/* What the C library does for malloc(), mutexes and the clock, on any thread. A clock without a
 * vDSO is read by a system call. */
#define COMMON_RULES                                                                               \
	SYSCALL_ALLOW(brk), SYSCALL_ALLOW_IF(mmap, 2, protections),                                \
		SYSCALL_ALLOW_IF(mprotect, 2, protections), SYSCALL_ALLOW(munmap),                 \
		SYSCALL_ALLOW(mremap), SYSCALL_ALLOW_IF(madvise, 2, advice),                       \
		SYSCALL_ALLOW(futex), SYSCALL_ALLOW(clock_gettime), SYSCALL_ALLOW(rt_sigreturn),   \
		SYSCALL_ALLOW(rt_sigprocmask), SYSCALL_ALLOW(getpid), SYSCALL_ALLOW(gettid),       \
		SYSCALL_ALLOW_IF(tgkill, 2, signals), SYSCALL_ALLOW(rt_sigaction),                 \
		SYSCALL_ALLOW(restart_syscall), /* a wait that SIGSTOP came into */                \
		SYSCALL_ALLOW(write), /* eventfds, the log */                                      \
		SYSCALL_ALLOW(writev), /* the C library's last words before abort() */             \
		SYSCALL_ALLOW(poll), SYSCALL_ALLOW(preadv2), /* an eventfd, without waiting */     \
		SYSCALL_ALLOW(timerfd_settime)

static const struct syscall_rule vcpu_rules[] = {
	COMMON_RULES,
	SYSCALL_ALLOW_IF(ioctl, 1, vcpu_ioctls),
	SYSCALL_ALLOW(exit),
};

static const struct syscall_rule main_rules[] = {
	COMMON_RULES,
	SYSCALL_ALLOW_IF(ioctl, 1, main_ioctls),
	SYSCALL_ALLOW(exit_group),
	/* The loop. A console's client is tried whether it can be waited for: epoll_create1. */
	SYSCALL_ALLOW(epoll_wait),
	SYSCALL_ALLOW(epoll_pwait),
	SYSCALL_ALLOW(epoll_ctl),
	SYSCALL_ALLOW(epoll_create1),
	SYSCALL_ALLOW(gettimeofday),
	/* Files that are open: kernel, disks by the ring, statistics, the exit record. A ring knows
	 * its disk only (devemu/block_file.c), and no other can be made. */
	SYSCALL_ALLOW(read),
	SYSCALL_ALLOW(pread64),
	SYSCALL_ALLOW(pwrite64),
	SYSCALL_ALLOW(lseek),
	SYSCALL_ALLOW_IF(newfstatat, 3, stat_flags),
	SYSCALL_ALLOW_IF(fcntl, 1, fcntl_commands),
	SYSCALL_ALLOW(io_uring_enter),
	SYSCALL_ALLOW(close),
	/* Control and console sockets, and the port's when the switch was restarted. */
	SYSCALL_ALLOW_IF(socket, 0, families),
	SYSCALL_ALLOW(connect),
	SYSCALL_ALLOW(accept4),
	SYSCALL_ALLOW(getsockopt),
	SYSCALL_ALLOW(recvfrom),
	SYSCALL_ALLOW(sendto),
	SYSCALL_ALLOW(recvmsg),
	SYSCALL_ALLOW(sendmsg),
	SYSCALL_ALLOW(shutdown),
};

const struct syscall_rule *sandbox_rules(enum sandbox_thread thread, size_t *count)
{
	if (thread == SANDBOX_VCPU) {
		*count = ARRAY_SIZE(vcpu_rules);
		return vcpu_rules;
	}
	*count = ARRAY_SIZE(main_rules);
	return main_rules;
}
