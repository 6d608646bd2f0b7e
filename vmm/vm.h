/*
 * The life of one VM: unconfigured, configured, running, paused, stopped. What clients, signals and
 * the guest itself ask for meets here. io thread.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <jansson.h>

#include "core/loop.h"
#include "vmm/exit_record.h"
#include "vmm/machine.h"

enum vm_state { VM_UNCONFIGURED, VM_CONFIGURED, VM_RUNNING, VM_PAUSED, VM_STOPPED, VM_STATES };

struct vm;

/* After every change of state; reason: static or the record's. */
typedef void (*vm_state_fn)(void *opaque, enum vm_state state, const char *reason);

struct vm *vm_create(struct loop *loop); /* NULL: out of memory */
void vm_destroy(struct vm *vm);
void vm_observe(struct vm *vm, vm_state_fn fn, void *opaque);

enum vm_state vm_state(const struct vm *vm);
const char *vm_state_name(enum vm_state state);

/* The state each may be called in is the caller's to check (control.c's masks). 0 or -errno with
 * the reason in error. */

/* Unconfigured only. Takes over config on success. */
must_check int vm_configure(struct vm *vm, struct vm_config *config, struct machine_error *error);
must_check int vm_start(struct vm *vm, struct machine_error *error);
must_check int vm_pause(struct vm *vm);
/* May find that the guest had asked for its end: 0, and the state is stopped. */
must_check int vm_resume(struct vm *vm);
/* When the reset itself fails the VM has stopped. */
must_check int vm_reset(struct vm *vm);
void vm_press_power_button(struct vm *vm);

/*
 * Ends the guest, if there is one, writes the exit record and stops the loop. Any state; a second
 * call does nothing.
 */
__attribute__((format(printf, 4, 5))) void vm_finish(struct vm *vm, enum exit_reason reason,
						     uint8_t debug_status, const char *fmt, ...);

int vm_exit_status(const struct vm *vm);

/* vm.info, vm.counters. NULL: out of memory. */
json_t *vm_info(struct vm *vm);
json_t *vm_counters(struct vm *vm);

#endif
