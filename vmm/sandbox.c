#include "vmm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/landlock.h"
#include "core/log.h"
#include "vmm/footprint.h"
#include "vmm/numa_place.h"

static pid_t host_pid;
static rlim_t file_size = RLIM_INFINITY; /* bytes, once all is set up */

static int failed(const char *what)
{
	int err = errno;

	log_err("cannot %s: %s", what, strerror(err));
	return -err;
}

/* Guest RAM is a file as well, and larger than what vmm-launch lets us make of our disks and log. */
static void raise_file_size(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_FSIZE, &r) < 0)
		return;
	file_size = r.rlim_cur;
	r.rlim_cur = r.rlim_max;
	(void)setrlimit(RLIMIT_FSIZE, &r); /* up to the hard limit anyone may */
}

static int limit_file_size(void)
{
	const struct rlimit r = {.rlim_cur = file_size, .rlim_max = file_size};

	return setrlimit(RLIMIT_FSIZE, &r) < 0 ? failed("limit the size of files") : 0;
}

void sandbox_prepare(void)
{
	char self[16];
	ssize_t n = readlink("/proc/self", self, sizeof(self) - 1);

	/* The host's /proc counts as the host does, whichever namespace asks. */
	self[MAX(n, 0)] = '\0';
	host_pid = (pid_t)atoi(self);
	raise_file_size();
	tzset(); /* reads /etc/localtime; gmtime_r() would */
	footprint_prepare();
	numa_place_prepare();
}

pid_t sandbox_host_pid(void)
{
	return host_pid > 0 ? host_pid : getpid();
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	/* Of this thread; there is no other yet. The ambient ones go with the permitted. */
	return syscall(SYS_capset, &head, none) < 0 ? failed("give up capabilities") : 0;
}

#ifdef __SANITIZE_ADDRESS__
static bool in_empty_root;

/* Without /proc, leaks cannot be searched for at the end, and the attempt would be an error. */
int __lsan_is_turned_off(void)
{
	return in_empty_root;
}
#endif

int sandbox_enter_root(int root)
{
	/* pivot_root(2): the new root stacks under the old one, which is then taken off it. */
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return failed("enter the empty root directory");
	close(root);
#ifdef __SANITIZE_ADDRESS__
	in_empty_root = true;
#endif
	return drop_capabilities();
}

int sandbox_give_up_files(void)
{
	int err;

#ifdef __SANITIZE_ADDRESS__
	/* The search for leaks at the end reads there, and attaches to its own process. */
	static const struct landlock_rule rules[] = {{"/proc", LANDLOCK_READ}};
	size_t count = access("/proc/self", F_OK) ? 0 : ARRAY_SIZE(rules);
#else
	static const struct landlock_rule *const rules;
	const size_t count = 0;

	/* Nobody of our uid attaches to us or reads our memory, /proc/PID is root's. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return failed("forbid core dumps");
#endif
	err = limit_file_size();
	if (!err)
		err = drop_capabilities();
	if (err)
		return err;
	err = landlock_install("vmm", rules, count);
	/* It has said so; the empty root and the list of system calls remain. */
	return err == -ENOSYS || err == -EOPNOTSUPP ? 0 : err;
}

int sandbox_confine_vcpu(void)
{
	size_t count;
	const struct syscall_rule *rules = sandbox_rules(SANDBOX_VCPU, &count);

	return syscall_filter_install("a vCPU", rules, count, SYSCALL_FILTER_THREAD);
}

int sandbox_confine_process(void)
{
	size_t count;
	const struct syscall_rule *rules = sandbox_rules(SANDBOX_MAIN, &count);

	/* The other threads there are, the vCPUs', have their own, shorter list. */
	return syscall_filter_install("vmm", rules, count, SYSCALL_FILTER_THREAD);
}
