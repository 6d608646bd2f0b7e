/*
 * What is left of the daemon's rights before it reads a client's first byte: an ordinary user
 * without capabilities, who may open its state and read its run directory and the host's numbers,
 * and who starts no process, opens no device and speaks to nobody but over Unix sockets.
 * Main thread, while it is the only one.
 */
#ifndef MGMT_WALLS_H
#define MGMT_WALLS_H

#include "mgmt/options.h"

/* From root to this user and group, for good: no capability can come back. 0, or -errno, logged. */
must_check int walls_leave_root(uid_t uid);

/*
 * Landlock, where the kernel has it, and the list of system calls. After the store is open and the
 * libraries have seen the host (time zone, random numbers). 0, or -errno, logged.
 */
must_check int walls_raise(const struct options *options);

#endif
