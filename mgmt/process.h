/*
 * Names a process for good: pid, start time and boot together, and tells when it ends, also when
 * it is nobody's child of ours. Main thread only.
 */
#ifndef MGMT_PROCESS_H
#define MGMT_PROCESS_H

#include <sys/types.h>

#include "core/loop.h"

struct process_watch;

#define BOOT_ID_SIZE 40u

/* 36 characters. 0 or -errno. */
must_check int process_boot_id(char boot_id[BOOT_ID_SIZE]);

/* Of a process whose first thread lives: clock ticks since boot. -ESRCH. */
must_check int process_start_time(pid_t pid, uint64_t *start_time);

/* Whether it runs as this user (its real user id). */
bool process_has_uid(pid_t pid, uid_t uid);

/*
 * Calls fn once, when the process has ended. -ESRCH: there is no such process (any more), or
 * another one by now. The watch is destroyed by its owner, within fn or later.
 */
must_check int process_watch_create(struct loop *loop, pid_t pid, uint64_t start_time, loop_fn fn,
				    void *opaque, struct process_watch **watch);
void process_watch_destroy(struct process_watch *watch); /* NULL is allowed */

#endif
