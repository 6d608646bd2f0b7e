/*
 * A list of the system calls a process or thread may still make (seccomp, by libseccomp). Whatever
 * is not on it kills the whole process by SIGSYS, and the kernel's audit record (dmesg) has the
 * call's number. Lists only ever narrow: a thread's own list is asked besides the process's.
 * Called once by the thread concerned, after its set-up; needs no_new_privs, and sets it. A build
 * with sanitizers adds what their run time needs to every list.
 */
#ifndef CORE_SYSCALL_FILTER_H
#define CORE_SYSCALL_FILTER_H

#include <seccomp.h> /* SCMP_SYS */

#include "core/bits.h"

struct syscall_rule {
	int number; /* SCMP_SYS(name) */
	/* The values that 32-bit argument arg (0..5) may have; NULL: the arguments do not matter. The kernel
	 * looks at a command's low 32 bits only, so the rule does too (ioctl, fcntl, madvise, ...). */
	unsigned int arg;
	const uint32_t *values;
	size_t value_count;
};

#define SYSCALL_ALLOW(name) {SCMP_SYS(name), 0, NULL, 0}
#define SYSCALL_ALLOW_IF(name, argument, list) {SCMP_SYS(name), argument, list, ARRAY_SIZE(list)}

enum syscall_filter_scope {
	SYSCALL_FILTER_THREAD,	/* the calling thread and those it will start */
	SYSCALL_FILTER_PROCESS, /* every thread there is */
};

/* 0 or -errno; rules are copied. name is for the log, which says what could not be installed and why. */
must_check int syscall_filter_install(const char *name, const struct syscall_rule *rules,
				      size_t count, enum syscall_filter_scope scope);

/*
 * The other way round, for a program that starts others and leaves them to their own lists: these
 * calls (SCMP_SYS(name)) kill, in it and in all it will start. Called by its only thread.
 */
must_check int syscall_filter_forbid(const char *name, const int *numbers, size_t count);

#endif
