/*
 * The VMs: what each is to be (in the store) and what it is (its vmm's process, and what that
 * tells). Main thread only.
 *
 *     stopped --start--> starting --> running <--> paused
 *        ^                  |            |            |
 *        |                  v            v            |
 *        +--- failed <------+--------- stopping <-----+
 *
 * A start prepares the NICs' ports, has vmm-launch spawn the vmm, and connects to it. An end, asked
 * for or not, reads the exit record, gives everything back, and then the policy decides.
 */
#ifndef MGMT_VM_H
#define MGMT_VM_H

#include "mgmt/problem.h"

struct mgmt;
struct vm;
struct vms;

#define VMS_MAX_SPEC_BYTES (16u << 20) /* of all VMs together: 16 KiB each, should all be there */

enum vm_state { VM_STOPPED, VM_STARTING, VM_RUNNING, VM_PAUSED, VM_STOPPING, VM_FAILED };
enum vm_action { VM_PAUSE, VM_RESUME, VM_RESET, VM_SHUTDOWN };

struct vms *vms_create(struct mgmt *mgmt); /* NULL: out of memory */
void vms_destroy(struct vms *vms);	   /* NULL is allowed; the guests run on */

/* From the store; nothing is acted upon. 0 or -errno. */
must_check int vms_load(struct vms *vms);
/*
 * Finds the processes of our predecessor's VMs, ends what ended meanwhile, and starts what is to
 * run. -errno, which was logged: the host did not let us look; who does not know of a VM that runs must
 * not act for it.
 */
must_check int vms_reconcile(struct vms *vms);
/* Starts what waits for the switch. */
void vms_switch_up(struct vms *vms);

/* Whether a NIC of any VM, running or not, has this port. */
bool vms_use_port(struct vms *vms, const char *port);
struct vm *vms_find(struct vms *vms, const char *id);
struct vm *vms_first(struct vms *vms);
struct vm *vm_next(const struct vm *vm);

/* spec: checked by vm_spec_check. 0, or -errno with the problem told. */
must_check int vms_add(struct vms *vms, const json_t *spec, struct vm **vm,
		       struct problem *problem);
/* The same for what needs a VM that is stopped or failed. */
must_check int vm_remove(struct vm *vm, struct problem *problem);
must_check int vm_add_device(struct vm *vm, const char *key, const json_t *device,
			     struct problem *problem);
must_check int vm_remove_device(struct vm *vm, const char *key, const char *id,
				struct problem *problem);
/* restart, autostart: in any state. */
must_check int vm_set_policy(struct vm *vm, const json_t *policy, struct problem *problem);

/* Each calls done exactly once, perhaps within. */
void vm_start(struct vm *vm, done_fn done, void *opaque);
void vm_stop(struct vm *vm, done_fn done, void *opaque);
void vm_act(struct vm *vm, enum vm_action action, done_fn done, void *opaque);
/* Power button for all, then the hard way; done when all are down. */
void vms_stop_all(struct vms *vms, unsigned int grace_seconds, done_fn done, void *opaque);

/*
 * Asks a running VM's vmm "vm.info" or "vm.counters"; the result is borrowed, NULL with a problem.
 */
typedef void (*vm_answer_fn)(void *opaque, const struct problem *problem, const json_t *result);
void vm_query(struct vm *vm, const char *method, vm_answer_fn fn, void *opaque);

const char *vm_id(const struct vm *vm);
enum vm_state vm_state(const struct vm *vm);
const char *vm_state_name(enum vm_state state);
unsigned int vm_restarts(const struct vm *vm);
const json_t *vm_spec(const struct vm *vm);
/* Schemas Vm and Nic; new references. */
json_t *vm_json(const struct vm *vm);
json_t *vm_nic_json(const struct vm *vm, const json_t *nic);

#endif
