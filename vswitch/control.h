/*
 * The switch's control socket: JSON-RPC methods switch.info, port.add, port.remove, port.list,
 * port.counters, fdb.list and fdb.flush. Main thread. The README lists parameters and results.
 */
#ifndef VSWITCH_CONTROL_H
#define VSWITCH_CONTROL_H

#include <sys/types.h>

#include "core/loop.h"
#include "vswitch/switch.h"

struct control;

/*
 * file: a path to bind, or "fd:N", an inherited listening socket. allowed_uid: who may connect
 * besides root and ourselves; (uid_t)-1: the owner of the inherited socket's file.
 * 0 or -errno; what failed is logged.
 */
must_check int control_create(struct vswitch *sw, const char *file, uid_t allowed_uid,
			      struct control **control);
void control_destroy(struct control *control); /* NULL is allowed */

#endif
