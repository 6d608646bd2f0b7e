/*
 * Starting a program with the least it needs: its own uid, no capabilities but those named, no
 * descriptors but those named, limits, a session and, where wanted, namespaces of its own.
 */
#ifndef LAUNCH_SPAWN_H
#define LAUNCH_SPAWN_H

#include <sys/types.h>

#include "core/bits.h"

#define SPAWN_FIRST_FD 3 /* fds[i] becomes descriptor 3 + i */
#define SPAWN_MAX_FDS  96

struct spawn_limit {
	int resource; /* RLIMIT_* */
	const char *name;
	uint64_t value;
	uint64_t soft; /* 0: the same */
};

struct namespaces;

struct spawn_plan {
	const char *dir, *program; /* dir/program, or dir/program/program in a build */
	const char *const *argv;   /* end with NULL */
	const char *const *env;
	uid_t uid; /* and gid; no supplementary groups */
	const int *fds; /* the child's copies; stay the caller's */
	unsigned int fd_count;
	int log_fd; /* standard output and error */
	const struct spawn_limit *limits;
	unsigned int limit_count;
	uint64_t caps; /* bit n: CAP_* n is kept, ambient */
	const struct namespaces *namespaces; /* NULL: the host's */
	int cgroup; /* with namespaces: the control group's directory, or -1 */
};

/* The process has been executed when this returns 0; else -errno with a line in `why`. */
must_check int spawn_process(const struct spawn_plan *plan, pid_t *pid, char *why,
			     size_t why_size);

#endif
