/*
 * The switch's process: found again or spawned, connected to, restarted when it dies. Main thread
 * only.
 */
#ifndef MGMT_VSWITCH_H
#define MGMT_VSWITCH_H

#include "core/rpc_client.h"
#include "mgmt/problem.h"

struct mgmt;
struct vswitch;

struct vswitch_events {
	loop_fn up;   /* it answers; its ports may be other than ours */
	loop_fn down; /* it is gone, its ports with it */
	void *opaque;
};

/* NULL: out of memory. */
struct vswitch *vswitch_create(struct mgmt *mgmt, const struct vswitch_events *events);
void vswitch_destroy(struct vswitch *vswitch); /* NULL is allowed; the process lives on */

/* Looks for the one of our predecessor, or spawns one; keeps one there from now on. */
void vswitch_start(struct vswitch *vswitch);
/* Ends the process; `done` is called when it is down. */
void vswitch_stop(struct vswitch *vswitch, loop_fn done, void *opaque);

bool vswitch_is_up(const struct vswitch *vswitch);
/* Asks it. fn is called exactly once, perhaps within. params is stolen. */
void vswitch_call(struct vswitch *vswitch, const char *method, json_t *params, rpc_reply_fn fn,
		  void *opaque);

/* Schema Switch, with info null. */
json_t *vswitch_json(const struct vswitch *vswitch);
unsigned int vswitch_restarts(const struct vswitch *vswitch);
unsigned int vswitch_hangs(const struct vswitch *vswitch); /* ends because it did not answer */

#endif
