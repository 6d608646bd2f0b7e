/*
 * The vm.* methods on a control socket (JSON-RPC 2.0), and the notification vm.state. io thread.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <sys/types.h>

#include "vmm/vm.h"

struct control;

/*
 * file: a path to bind, or a listening descriptor. uid: whose clients are served besides root's and
 * our own. 0 or -errno (logged).
 */
must_check int control_create(struct loop *loop, struct vm *vm, const struct config_file *file,
			      uid_t uid, struct control **control);
void control_destroy(struct control *control); /* NULL is allowed */

#endif
