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

static int build(scmp_filter_ctx filter, const struct syscall_rule *rules, size_t count,
		 enum syscall_filter_scope scope)
{
	int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, scope == SYSCALL_FILTER_PROCESS);

	/* A binary tree: a hot thread's calls are not compared with the whole list one by one. */
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < count && !err; i++)
		err = add_rule(filter, &rules[i]);
	return err;
}

int syscall_filter_install(const char *name, const struct syscall_rule *rules, size_t count,
			   enum syscall_filter_scope scope)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err = -ENOMEM;

	if (filter) {
		err = build(filter, rules, count, scope);
		if (!err)
			err = seccomp_load(filter);
		seccomp_release(filter);
	}
	if (err)
		log_err("cannot install the system call filter of %s: %s; it needs a kernel with "
			"CONFIG_SECCOMP_FILTER",
			name, strerror(-err));
	return err;
}
