/*
 * What the switch may still do once it is set up: no capability, no new file, process, thread
 * or kind of socket, and on each forwarding thread a dozen system calls. What needs more is done
 * before: uplinks declared on the command line, packet buffers, the control socket. Needs no EAL.
 */
#ifndef VSWITCH_WALLS_H
#define VSWITCH_WALLS_H

#include "core/bits.h"

/* Main thread, with every other thread there. 0, or -errno, logged. */
must_check int walls_raise(void);

/* Then each forwarding thread, for itself. 0, or -errno, logged. */
must_check int walls_raise_lcore(void);

/*
 * Whether this device can be plugged in behind the walls: drivers that live in memory and on Unix
 * sockets alone. 0, or -EPERM with a line in why that says what to do.
 */
must_check int walls_check_device(const char *devargs, char *why, size_t why_size);

#endif
