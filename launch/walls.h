/*
 * vmm-launch stays root, but not all of it: the capabilities its work needs and no others, and none
 * of the system calls that neither it nor what it starts will ever need. The only thread, before the
 * client is listened to.
 */
#ifndef LAUNCH_WALLS_H
#define LAUNCH_WALLS_H

#include "core/bits.h"

/* also: bit n: CAP_* n is to be had for the switch. 0, or -errno, logged. */
must_check int walls_raise(uint64_t also);

#endif
