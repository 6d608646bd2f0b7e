/*
 * Shared by the files that make up a VM. Each uses those before it: vm, vm_exit, vm_end,
 * vm_control, vm_start, vm_adopt; and at last vms, all of them, which vm_stop_all ends.
 */
#ifndef MGMT_VM_PRIVATE_H
#define MGMT_VM_PRIVATE_H

#include "mgmt/events.h"
#include "mgmt/mgmt.h"
#include "mgmt/store.h"
#include "mgmt/supervisor.h"
#include "mgmt/vm.h"
#include "mgmt/vm_spec.h"

#define VM_PROCESS_NAME_SIZE (SPEC_ID_MAX + 8)

enum vm_desired { DESIRED_STOPPED, DESIRED_RUNNING, DESIRED_PAUSED };

/* Who waits for a VM to be down. */
struct vm_waiter {
	struct vm_waiter *next;
	done_fn done;
	void *opaque;
};

struct vm {
	struct vm *next;
	struct vms *vms;
	struct mgmt *mgmt;
	char id[SPEC_ID_MAX + 1];
	uid_t uid;
	json_t *spec;
	size_t spec_bytes; /* as JSON */

	/* in the store as well */
	enum vm_desired desired;
	bool forced;
	json_t *last_exit; /* NULL: it never ran */

	enum vm_state state;
	char reason[300];
	struct ratelimit log_limit; /* a vmm may claim to change its state without end */
	unsigned int restarts;
	unsigned int backoff_ms;

	/* while there is a process, or one is on its way */
	struct child *child;
	struct rpc_client *client;
	pid_t pid; /* 0: none; known a little longer than the child */
	uint64_t running_since_ms; /* CLOCK_MONOTONIC; 0: it did not come that far */
	char started_at[TIME_TEXT_SIZE];
	bool cancelled;	  /* stopped, or given up, while it was starting */
	bool given_up;	  /* whoever wanted the start was told that it takes too long */
	bool wants_switch; /* starting; it waits for the switch */
	bool ending;	  /* its things are being given back */
	/* once what its last run left is given back; NULL: the policy decides */
	void (*after_end)(struct vm *vm);
	unsigned int pending; /* ports being added or removed */
	struct problem fault; /* why the start failed; status 0: it did not */
	done_fn start_done;   /* NULL: nobody waits for the start */
	void *start_opaque;
	struct vm_waiter *waiters;

	struct loop_timer *restart; /* the policy's */
	struct loop_timer *kill;    /* it was told to stop, or to run; patience ends */
	struct loop_timer *reconnect;
	struct loop_timer *spawn; /* vmm-launch was asked for the process; patience ends */
};

struct vms {
	struct mgmt *mgmt;
	struct vm *first; /* in order of their ids */
	size_t spec_bytes; /* of all of them, as JSON */
};

/* vm.c */
void vm_set_state(struct vm *vm, enum vm_state state, const char *reason);
void vm_process_name(const struct vm *vm, char name[VM_PROCESS_NAME_SIZE]);
void vm_run_path(const struct vm *vm, const char *file, char path[MGMT_PATH_SIZE]);
/* As the store has it; what it cannot have is taken for "stopped". */
enum vm_desired vm_desired_by_name(const char *name);
const char *vm_desired_name(enum vm_desired desired);
/* Committed; -EIO: the store did not take it, and nothing has changed. */
must_check int vm_set_desired(struct vm *vm, enum vm_desired desired, bool forced);
const char *vm_restart_policy(const struct vm *vm);
bool vm_is_down(const struct vm *vm); /* and no restart is pending */
uint64_t monotonic_ms(void);
int vm_add_waiter(struct vm *vm, done_fn done, void *opaque);
void vm_disconnect(struct vm *vm); /* from its vmm, and does not try again */
void vm_kill(void *vm);

/* vm_exit.c: a new reference, never NULL unless out of memory. how may be NULL: not watched. */
json_t *vm_exit_read(const struct vm *vm, const struct child_exit *how);
bool vm_exit_recorded(const struct vm *vm); /* its vmm has left a record */

/* vm_end.c */
void vm_on_exit(void *vm, const struct child_exit *how);
void vm_end(struct vm *vm); /* there is no process (any more): gives its things back */
void vm_fail_start(struct vm *vm, const struct problem *problem); /* and ends it */

/* vm_control.c */
void vm_control_connect(struct vm *vm);
/* Tells the vmm to stop, and ends it if it does not. */
void vm_control_stop(struct vm *vm);

/* vm_start.c: as vm_start, for the policy and at boot; failures go to the policy. */
void vm_start_automatically(struct vm *vm);
void vm_spawn_overdue(void *vm);

#endif
