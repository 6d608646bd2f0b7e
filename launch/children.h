/*
 * The processes we started: watched by pidfd, reaped, reported to our client. Processes of an
 * earlier vmm-launch are not children and are not watched here; they can still be signalled.
 */
#ifndef LAUNCH_CHILDREN_H
#define LAUNCH_CHILDREN_H

#include "launch/launch.h"

/* Field 22 of /proc/PID/stat, in clock ticks since boot; 0: no such process. */
uint64_t process_start_time(pid_t pid);

/* Watches a new child. 0 or -errno; start_time is its own. */
must_check int children_add(struct launch *launch, pid_t pid, uid_t uid, uint64_t *start_time);
/* Stops watching; the processes go on. */
void children_forget(struct launch *launch);

/*
 * Signals a process of the switch's uid or that of a VM in our run directory, if it is the one that
 * started at start_time.
 * 0, or -EINVAL with error.
 */
must_check int process_kill(const struct run_dirs *dirs, pid_t pid, uint64_t start_time,
			    int signo, struct launch_error *error);

#endif
