#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/json_text.h"
#include "mgmt/port.h"
#include "mgmt/vm_private.h"

#define RELEASE_TIMEOUT_MS 10000u
#define RESTART_MIN_MS 500u
#define RESTART_MAX_MS 60000u
#define STEADY_MS 60000u /* after so long a run the back-off begins anew */

static bool exit_is_one_of(const struct vm *vm, const char *const *reasons)
{
	const char *reason = json_string_value(json_object_get(vm->last_exit, "reason"));

	while (reason && *reasons && strcmp(reason, *reasons) != 0)
		reasons++;
	return reason && *reasons;
}

/* Ends that are nobody's fault. */
static bool vm_ended_well(const struct vm *vm)
{
	static const char *const clean[] = { "shutdown", "stop", "debug-exit", NULL };

	return exit_is_one_of(vm, clean);
}

/*
 * Whether the guest ran at all. A quick one may be over before we have asked: then its own way of
 * ending tells.
 */
static bool vm_has_run(const struct vm *vm)
{
	static const char *const guest[] = { "shutdown", "debug-exit", "guest-fault",
					     "reset-failed", NULL };

	if (vm->running_since_ms)
		return true;
	return vm->pid && !vm->fault.status && exit_is_one_of(vm, guest);
}

static bool vm_is_to_restart(const struct vm *vm, bool failed)
{
	const char *policy = vm_restart_policy(vm);

	return !strcmp(policy, "always") || (failed && !strcmp(policy, "on-failure"));
}

static void vm_schedule_restart(struct vm *vm)
{
	if (vm->running_since_ms && monotonic_ms() - vm->running_since_ms > STEADY_MS)
		vm->backoff_ms = 0;
	vm->backoff_ms = vm->backoff_ms ? MIN(vm->backoff_ms * 2, RESTART_MAX_MS) : RESTART_MIN_MS;
	if (loop_timer_arm(vm->restart, vm->backoff_ms * 1000000ULL) < 0)
		log_err("VM %s will not be restarted: out of memory", vm->id);
}

static void vm_tell_waiters(struct vm *vm)
{
	struct vm_waiter *waiter;

	while ((waiter = vm->waiters)) {
		vm->waiters = waiter->next;
		waiter->done(waiter->opaque, NULL);
		free(waiter);
	}
}

/* A start that failed is an end, too. */
static void vm_note_fault(struct vm *vm)
{
	char now[TIME_TEXT_SIZE];

	if (!vm->fault.status)
		return;
	time_text(now);
	json_decref(vm->last_exit);
	vm->last_exit = json_pack("{s:s, s:o, s:s}", "reason", "start-failed", "message",
				  problem_text(vm->fault.detail), "time", now);
}

static void vm_describe_end(const struct vm *vm, char *text, size_t size)
{
	const char *message = json_string_value(json_object_get(vm->last_exit, "message"));
	const char *reason = json_string_value(json_object_get(vm->last_exit, "reason"));

	if (vm->desired == DESIRED_STOPPED && vm->forced)
		reason = "stop";
	else if (message && message[0])
		reason = message;
	snprintf(text, size, "%s", reason ? reason : "");
}

/* Who waits for the start hears of the end. */
static void vm_tell_starter(struct vm *vm, const char *text)
{
	const char *reason = json_string_value(json_object_get(vm->last_exit, "reason"));
	done_fn done = vm->start_done;
	struct problem problem = vm->fault;

	if (!done)
		return;
	vm->start_done = NULL;
	if (vm->cancelled)
		problem_set(&problem, 409, NULL, "the VM was stopped while it was starting");
	else if (!problem.status)
		problem_set(&problem, reason && !strcmp(reason, "config") ? 422 : 503, NULL, "%s",
			    text);
	done(vm->start_opaque, vm_has_run(vm) && !vm->cancelled ? NULL : &problem);
}

/* One step for the store, or a crash in its midst would have an ended guest started again. */
static void vm_note_end(struct vm *vm, bool failed, enum vm_desired desired)
{
	char *last_exit = vm->last_exit ? json_text_dump(vm->last_exit, JSON_COMPACT, NULL) : NULL;
	const struct store_vm end = {
		.id = vm->id,
		.desired = vm_desired_name(desired),
		.forced = vm->forced && desired == vm->desired,
		.failed = failed,
		.last_exit = last_exit,
	};
	char name[VM_PROCESS_NAME_SIZE];

	vm_process_name(vm, name);
	if (store_vm_set_end(vm->mgmt->store, &end, name) < 0) {
		log_warn("the store does not know that VM %s ended; a restarted daemon will look",
			 vm->id);
	} else {
		vm->desired = desired;
		vm->forced = end.forced;
	}
	free(last_exit);
}

/* All is given back. What now? */
static void vm_ended(struct vm *vm)
{
	bool asked_for = vm->desired == DESIRED_STOPPED;
	bool failed = !asked_for && !vm->after_end && !(vm_has_run(vm) && vm_ended_well(vm));
	/* A person whose start came to nothing is told, and decides. */
	bool restart = !asked_for && !((vm->start_done || vm->given_up) && !vm_has_run(vm)) &&
		       vm_is_to_restart(vm, failed);
	void (*after_end)(struct vm *vm);
	char text[sizeof(vm->reason)];

	vm->ending = false;
	vm_note_fault(vm);
	vm_describe_end(vm, text, sizeof(text));
	vm_note_end(vm, failed, restart || vm->after_end ? vm->desired : DESIRED_STOPPED);
	vm_set_state(vm, failed ? VM_FAILED : VM_STOPPED, text);
	if (restart && !vm->after_end)
		vm_schedule_restart(vm);
	vm_tell_starter(vm, text);
	vm_tell_waiters(vm);
	after_end = vm->after_end;
	vm->after_end = NULL;
	if (after_end)
		after_end(vm);
}

static void vm_on_released(void *opaque, int code, const char *message, const json_t *data,
			   const json_t *result)
{
	struct vm *vm = opaque;

	if (code && code != RPC_NOT_FOUND)
		log_warn("what VM %s left behind stays: %s", vm->id, message);
	vm_ended(vm);
}

static void vm_on_port_removed(void *opaque, const struct problem *problem)
{
	struct vm *vm = opaque;

	if (--vm->pending)
		return;
	supervisor_call(vm->mgmt->supervisor, "vm.release", json_pack("{s:s}", "id", vm->id),
			RELEASE_TIMEOUT_MS, vm_on_released, vm);
}

void vm_end(struct vm *vm)
{
	json_t *nics = json_object_get(vm->spec, "nics"), *nic;
	size_t i;

	if (vm->ending)
		return;
	vm->ending = true;
	vm->wants_switch = false;
	vm->pending = 1;
	json_array_foreach(nics, i, nic) {
		vm->pending++;
		ports_remove_nic(vm->mgmt->ports, vm->id, nic, vm_on_port_removed, vm);
	}
	vm_on_port_removed(vm, NULL);
}

void vm_fail_start(struct vm *vm, const struct problem *problem)
{
	if (!vm->fault.status)
		vm->fault = *problem;
	if (vm->child)
		vm_kill(vm); /* its exit goes on from here */
	else
		vm_end(vm);
}

void vm_on_exit(void *opaque, const struct child_exit *how)
{
	struct vm *vm = opaque;
	json_t *last_exit = vm_exit_read(vm, how);

	loop_timer_disarm(vm->kill);
	vm_disconnect(vm);
	child_destroy(vm->child);
	vm->child = NULL;
	json_decref(vm->last_exit);
	vm->last_exit = last_exit;
	if (vm->state != VM_STARTING)
		vm_set_state(vm, VM_STOPPING, "its process has ended");
	vm_end(vm);
}
