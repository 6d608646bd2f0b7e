/*
 * Attempts that are one system call each. All are harmless should they succeed: signal 0, a child that
 * ends at once, a file system over a directory of a mount namespace of one's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/kvm.h>
#include <linux/memfd.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>

#include "tests/hostile/escape.h"

#define P(what) ((long)(what))
#define CALL(name_, call_, ...) {.name = name_, .call = SYS_##call_, .args = {__VA_ARGS__}}

static char scratch[65536];
static struct iovec local = {scratch, 64}, remote = {scratch, 64};
static char *const words[] = {"sh", "-c", "exit 7", NULL};
static struct io_uring_params ring_params;
static struct perf_event_attr perf = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(perf),
				      .exclude_kernel = 1};
static const struct rlimit more_files = {4096, 4096};
static const uint64_t resolve_none[3] = {O_RDONLY, 0, 0};
static const struct {
	uint32_t version;
	int pid;
} cap_head = {0x20080522, 0};
static const uint32_t cap_all[6] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
static const struct sched_param realtime = {1};

static const struct escape_attempt calls[] = {
	/* Files */
	CALL("open-shadow", openat, AT_FDCWD, P("/etc/shadow"), O_RDONLY),
	CALL("open-passwd", open, P("/etc/passwd"), O_RDONLY),
	CALL("open-root", openat, AT_FDCWD, P("/"), O_RDONLY | O_DIRECTORY),
	CALL("open-proc", openat, AT_FDCWD, P("/proc/self/maps"), O_RDONLY),
	CALL("open-own-memory", openat, AT_FDCWD, P("/proc/self/mem"), O_RDWR),
	CALL("open-init-environ", openat, AT_FDCWD, P("/proc/1/environ"), O_RDONLY),
	CALL("open-path", openat, AT_FDCWD, TEXT, O_RDONLY),
	CALL("open-kvm", openat, AT_FDCWD, P("/dev/kvm"), O_RDWR),
	CALL("open-memory", openat, AT_FDCWD, P("/dev/mem"), O_RDWR),
	CALL("openat2", openat2, AT_FDCWD, P("/etc/hostname"), P(resolve_none), 24),
	CALL("open-by-handle", open_by_handle_at, AT_FDCWD, P(scratch), O_RDONLY),
	CALL("make-file", openat, AT_FDCWD, TEXT, O_CREAT | O_EXCL | O_WRONLY, 0600),
	CALL("make-device", mknod, P("/null"), S_IFCHR | 0666, 0x103),
	CALL("make-directory", mkdir, P("/tmp/escape"), 0777),
	CALL("remove", unlink, TEXT),
	CALL("rename", rename, TEXT, P("/tmp/escaped")),
	CALL("link", link, TEXT, P("/tmp/escaped")),
	CALL("symlink", symlink, P("/etc/shadow"), P("/tmp/escape-link")),
	CALL("chmod", chmod, TEXT, 0777),
	CALL("chown", chown, TEXT, 0, 0),
	CALL("truncate", truncate, TEXT, 0),
	CALL("stat", stat, P("/etc/passwd"), P(scratch)),
	CALL("stat-at", newfstatat, AT_FDCWD, P("/etc/passwd"), P(scratch), 0),
	CALL("list", getdents64, 0, P(scratch), sizeof(scratch)),
	CALL("watch-files", inotify_init1, 0),
	CALL("current-directory", getcwd, P(scratch), sizeof(scratch)),
	/* Sockets */
	CALL("tcp", socket, AF_INET, SOCK_STREAM, 0),
	CALL("udp", socket, AF_INET6, SOCK_DGRAM, 0),
	CALL("netlink", socket, AF_NETLINK, SOCK_RAW, 0),
	CALL("packet", socket, AF_PACKET, SOCK_RAW, 0),
	CALL("vsock", socket, AF_VSOCK, SOCK_STREAM, 0),
	CALL("crypto", socket, AF_ALG, SOCK_SEQPACKET, 0),
	CALL("socketpair", socketpair, AF_UNIX, SOCK_STREAM, 0, P(scratch)),
	/* Other processes */
	CALL("ptrace", ptrace, PTRACE_ATTACH, NUMBER, 0, 0),
	CALL("ptrace-me", ptrace, PTRACE_TRACEME, 0, 0, 0),
	CALL("read-process", process_vm_readv, NUMBER, P(&local), 1, P(&remote), 1, 0),
	CALL("write-process", process_vm_writev, NUMBER, P(&local), 1, P(&remote), 1, 0),
	CALL("kill", kill, NUMBER, 0),
	CALL("kill-all", kill, -1, 0),
	CALL("thread-kill", tgkill, NUMBER, NUMBER, 0),
	CALL("thread-signal", tgkill, NUMBER, NUMBER, SIGUSR1),
	CALL("queue-signal", rt_sigqueueinfo, NUMBER, 0, P(scratch)),
	CALL("pidfd", pidfd_open, NUMBER, 0),
	CALL("pidfd-of-init", pidfd_open, 1, 0),
	CALL("pidfd-descriptor", pidfd_getfd, 3, 3, 0),
	CALL("execute", execve, P("/bin/sh"), P(words), P(words + 3)),
	CALL("execute-descriptor", execveat, 3, P(""), P(words), P(words + 3), AT_EMPTY_PATH),
	CALL("other-limits", prlimit64, NUMBER, RLIMIT_NOFILE, P(&more_files), 0),
	CALL("compare", kcmp, NUMBER, NUMBER, 0, 0, 0),
	CALL("real-time", sched_setscheduler, 0, SCHED_FIFO, P(&realtime)),
	CALL("priority", setpriority, PRIO_PROCESS, 0, -20),
	CALL("affinity", sched_setaffinity, NUMBER, 8, P(scratch)),
	/* Namespaces and mounts */
	CALL("mount", mount, P("none"), P("/"), P("tmpfs"), 0, 0),
	CALL("remount", mount, 0, P("/"), 0, MS_REMOUNT | MS_BIND, 0),
	CALL("unmount", umount2, P("/"), MNT_DETACH),
	CALL("unshare-user", unshare, CLONE_NEWUSER),
	CALL("unshare-mounts", unshare, CLONE_NEWNS),
	CALL("set-namespace", setns, 3, 0),
	CALL("chroot", chroot, P(".")),
	CALL("pivot-root", pivot_root, P("."), P(".")),
	CALL("open-tree", open_tree, AT_FDCWD, P("/"), 1),
	CALL("fsopen", fsopen, P("tmpfs"), 0),
	CALL("host-name", sethostname, P("escaped"), 7),
	/* Privileges */
	CALL("setuid", setuid, 0),
	CALL("setresgid", setresgid, 0, 0, 0),
	CALL("setgroups", setgroups, 1, P(cap_all + 1)),
	CALL("capabilities", capset, P(&cap_head), P(cap_all)),
	CALL("dumpable", prctl, PR_SET_DUMPABLE, 1, 0, 0, 0),
	CALL("no-new-privs", prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0),
	CALL("own-filter", seccomp, SECCOMP_SET_MODE_FILTER, 0, P(scratch)),
	CALL("personality", personality, READ_IMPLIES_EXEC),
	CALL("raise-limit", setrlimit, RLIMIT_NOFILE, P(&more_files)),
	/* Memory */
	CALL("executable-memory", mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	CALL("make-executable", mprotect, 0, 0, PROT_READ | PROT_EXEC),
	CALL("userfaultfd", userfaultfd, UFFD_USER_MODE_ONLY),
	CALL("memory-file", memfd_create, P("x"), MFD_CLOEXEC),
	CALL("lock-memory", mlockall, MCL_CURRENT | MCL_FUTURE),
	CALL("shared-memory", shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0600),
	CALL("message-queue", msgget, IPC_PRIVATE, IPC_CREAT | 0600),
	CALL("posix-queue", mq_open, P("escape"), O_CREAT | O_RDWR, 0600, 0),
	CALL("semaphores", semget, IPC_PRIVATE, 1, IPC_CREAT | 0600),
	/* The kernel */
	CALL("ring", io_uring_setup, 8, P(&ring_params)),
	CALL("ring-register", io_uring_register, 3, IORING_REGISTER_PERSONALITY, 0, 0),
	CALL("bpf", bpf, BPF_PROG_GET_NEXT_ID, P(scratch), 16),
	CALL("perf", perf_event_open, P(&perf), 0, -1, -1, 0),
	CALL("key", add_key, P("user"), P("escape"), P("x"), 1, KEY_SPEC_PROCESS_KEYRING),
	CALL("keyring", keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0),
	CALL("module", init_module, P(scratch), 64, P("")),
	CALL("module-file", finit_module, 3, P(""), 0),
	CALL("kexec", kexec_load, 0, 0, 0, 0),
	CALL("reboot", reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, 0),
	CALL("swap", swapon, P("/none"), 0),
	CALL("kernel-log", syslog, 3, P(scratch), sizeof(scratch)),
	CALL("clock", settimeofday, 0, P(scratch)),
	CALL("ports", iopl, 3),
	CALL("quota", quotactl, 0, 0, 0, 0),
	CALL("watch-all-files", fanotify_init, 0, 0),
	CALL("push-input", ioctl, 0, TIOCSTI, P("x")),
	CALL("duplicate", dup2, 2, 0),
	CALL("signal-owner", fcntl, 0, F_SETOWN, NUMBER),
	CALL("lease", fcntl, 3, F_SETLEASE, F_WRLCK),
};

const struct escape_attempt *escape_calls(size_t *count)
{
	*count = ARRAY_SIZE(calls);
	return calls;
}
