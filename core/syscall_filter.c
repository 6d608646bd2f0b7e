#include "core/syscall_filter.h"

#include <errno.h>

#include "core/log.h"

static int add_rule(scmp_filter_ctx filter, const struct syscall_rule *rule)
{
	int err;

	if (!rule->values)
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, rule->number, 0);
	for (size_t i = 0; i < rule->value_count; i++) {
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, rule->number, 1,
				       SCMP_CMP(rule->arg, SCMP_CMP_MASKED_EQ, 0xffffffffu,
						rule->values[i]));
		if (err)
			return err;
	}
	return 0;
}

/*
 * In a build with sanitizers: what their run time does besides, when it reports and when it looks
 * for leaks at the end. Other builds have none of it.
 */
static const struct syscall_rule sanitizer_rules[] = {
#if defined(__SANITIZE_ADDRESS__)
	SYSCALL_ALLOW(arch_prctl), SYSCALL_ALLOW(clock_gettime), SYSCALL_ALLOW(clone),
	SYSCALL_ALLOW(close), SYSCALL_ALLOW(exit), SYSCALL_ALLOW(exit_group),
	SYSCALL_ALLOW(fstat), SYSCALL_ALLOW(futex), SYSCALL_ALLOW(getdents),
	SYSCALL_ALLOW(getdents64), SYSCALL_ALLOW(getpid), SYSCALL_ALLOW(getppid),
	SYSCALL_ALLOW(gettid), SYSCALL_ALLOW(ioctl), SYSCALL_ALLOW(lseek), SYSCALL_ALLOW(lstat),
	SYSCALL_ALLOW(madvise), SYSCALL_ALLOW(mmap), SYSCALL_ALLOW(mprotect),
	SYSCALL_ALLOW(mremap), SYSCALL_ALLOW(munmap), SYSCALL_ALLOW(newfstatat),
	SYSCALL_ALLOW(open), SYSCALL_ALLOW(openat), SYSCALL_ALLOW(pipe2), SYSCALL_ALLOW(prctl),
	SYSCALL_ALLOW(prlimit64), SYSCALL_ALLOW(ptrace), SYSCALL_ALLOW(read),
	SYSCALL_ALLOW(readlink), SYSCALL_ALLOW(rt_sigaction), SYSCALL_ALLOW(rt_sigprocmask),
	SYSCALL_ALLOW(rt_sigreturn), SYSCALL_ALLOW(sched_getaffinity),
	SYSCALL_ALLOW(sched_yield), SYSCALL_ALLOW(sigaltstack), SYSCALL_ALLOW(stat),
	SYSCALL_ALLOW(tgkill), SYSCALL_ALLOW(wait4), SYSCALL_ALLOW(write),
#endif
	{-1}, /* the end */
};

static int build(scmp_filter_ctx filter, const struct syscall_rule *rules, size_t count,
		 enum syscall_filter_scope scope)
{
	int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, scope == SYSCALL_FILTER_PROCESS);

	/* A binary tree: a hot thread's calls are not compared with the whole list one by one. */
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < count && !err; i++)
		err = add_rule(filter, &rules[i]);
	for (size_t i = 0; sanitizer_rules[i].number >= 0 && !err; i++)
		err = add_rule(filter, &sanitizer_rules[i]);
	return err;
}

static int install(const char *name, scmp_filter_ctx filter, int err)
{
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	if (err)
		log_err("cannot install the system call filter of %s: %s; it needs a kernel with "
			"CONFIG_SECCOMP_FILTER",
			name, strerror(-err));
	return err;
}

int syscall_filter_forbid(const char *name, const int *numbers, size_t count)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int err;

	if (!filter)
		return -ENOMEM;
	err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < count && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, numbers[i], 0);
	return install(name, filter, err);
}

int syscall_filter_install(const char *name, const struct syscall_rule *rules, size_t count,
			   enum syscall_filter_scope scope)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!filter)
		return -ENOMEM;
	return install(name, filter, build(filter, rules, count, scope));
}
