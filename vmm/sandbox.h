/*
 * What a vmm gives up before its guest's first instruction, so that a guest that takes this process
 * over has gained next to nothing: the host's files, capabilities, being looked at by its own user,
 * and all system calls but those of two lists (core/syscall_filter.h), one for the main thread and a
 * shorter one for the threads of the vCPUs. vmm-launch adds the uid, namespaces and limits.
 *
 * In this order: sandbox_prepare and sandbox_enter_root at the start of main, before anything of
 * others is read; sandbox_give_up_files when all is open, with one thread; sandbox_confine_vcpu on
 * each vCPU's thread as it starts; sandbox_confine_process before the kernel is read. Functions
 * return 0 or -errno, and failures are logged.
 */
#ifndef VMM_SANDBOX_H
#define VMM_SANDBOX_H

#include <sys/types.h>

#include "core/syscall_filter.h"

/* Opens and remembers what cannot be had later. */
void sandbox_prepare(void);
/* This process as the host numbers it; in a pid namespace of its own it is 1. */
pid_t sandbox_host_pid(void);

/*
 * root: descriptor of a mounted directory, taken over. It becomes the root directory, what was the
 * root before is out of reach, and the capability needed for that is given up.
 */
must_check int sandbox_enter_root(int root);
must_check int sandbox_give_up_files(void);
must_check int sandbox_confine_vcpu(void);
must_check int sandbox_confine_process(void);

/* The lists themselves. */
enum sandbox_thread { SANDBOX_MAIN, SANDBOX_VCPU };
const struct syscall_rule *sandbox_rules(enum sandbox_thread thread, size_t *count);

#endif
