#include <signal.h>
#include <stdio.h>

#include "core/json_text.h"
#include "core/log.h"
#include "mgmt/port.h"
#include "mgmt/vm_private.h"
#include "mgmt/vswitch.h"

/* NULL: out of memory; a VM without some of its devices is none. */
static json_t *vm_spawn_config(const struct vm *vm)
{
	static const char *const keys[] = { "id", "vcpus", "memory", "boot", "disks",
					    "debug_exit" };
	unsigned int refusals = json_text_refusals();
	json_t *config = json_object(), *nics = json_array(), *nic, *copy;
	char port[PORT_ID_SIZE], socket[MGMT_PATH_SIZE];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		json_object_set(config, keys[i], json_object_get(vm->spec, keys[i]));
	json_array_foreach(json_object_get(vm->spec, "nics"), i, nic) {
		port_nic_id(vm->id, json_string_value(json_object_get(nic, "id")), port);
		snprintf(socket, sizeof(socket), "%s/ports/%s/sock", vm->mgmt->options->run_dir,
			 port);
		copy = json_deep_copy(nic);
		json_object_set_new(copy, "socket", json_string(socket));
		json_array_append_new(nics, copy);
	}
	json_object_set_new(config, "nics", nics);
	if (json_text_refusals() == refusals)
		return config;
	json_decref(config);
	return NULL;
}

static void vm_on_spawned(void *opaque, int code, const char *message, const json_t *data,
			  const json_t *result)
{
	struct store_process process = { 0 };
	char name[VM_PROCESS_NAME_SIZE];
	struct problem problem;
	struct vm *vm = opaque;

	loop_timer_disarm(vm->spawn);
	if (code) {
		problem_from_rpc(&problem, "vmm-launch", code, message, data);
		vm_fail_start(vm, &problem);
		return;
	}
	process.pid = vm->pid = (pid_t)json_integer_value(json_object_get(result, "pid"));
	process.start_time =
		(uint64_t)json_integer_value(json_object_get(result, "start_time"));
	snprintf(process.boot_id, sizeof(process.boot_id), "%s", vm->mgmt->boot_id);
	time_text(process.started_at);
	snprintf(vm->started_at, sizeof(vm->started_at), "%s", process.started_at);
	vm_process_name(vm, name);
	if (store_process_set(vm->mgmt->store, name, &process) < 0)
		log_warn("a restarted daemon will have to guess VM %s's process", vm->id);
	if (child_create(vm->mgmt->supervisor, process.pid, process.start_time, true, vm_on_exit,
			 vm, &vm->child) < 0) {
		/* What cannot be watched must not run on. */
		supervisor_kill(vm->mgmt->supervisor, process.pid, process.start_time, SIGKILL);
		vm_on_exit(vm, NULL);
	} else if (vm->cancelled) {
		vm_kill(vm);
	} else {
		vm_control_connect(vm);
	}
}

/*
 * Whoever waits is told that it failed. The VM remains "starting" until vmm-launch says what has
 * become of the process, so that nothing is left behind: one that comes late is ended.
 */
void vm_spawn_overdue(void *opaque)
{
	struct vm *vm = opaque;
	done_fn done = vm->start_done;
	char text[96];

	snprintf(text, sizeof(text), "vmm-launch did not start it within %u s",
		 vm->mgmt->options->spawn_timeout);
	problem_set(&vm->fault, 503, NULL, "%s", text);
	vm->cancelled = true;
	vm->given_up = done;
	vm->start_done = NULL;
	vm_set_state(vm, VM_STARTING, "it is late; as soon as it is there it is ended");
	log_err("VM %s: %s", vm->id, text);
	if (done)
		done(vm->start_opaque, &vm->fault);
}

static void vm_spawn(struct vm *vm)
{
	json_t *params = json_pack("{s:s, s:i, s:o, s:{}}", "id", vm->id, "uid", (int)vm->uid,
				   "config", vm_spawn_config(vm), "limits");

	if (!params) {
		vm_on_spawned(vm, RPC_INTERNAL, "out of memory", NULL, NULL);
		return;
	}
	if (loop_timer_arm(vm->spawn, vm->mgmt->options->spawn_timeout * 1000000000ULL) < 0)
		log_warn("VM %s: its start may take any time: out of memory", vm->id);
	/* Without an end: an answer that came too late would be a process nobody knows of. */
	supervisor_call(vm->mgmt->supervisor, "vm.spawn", params, 0, vm_on_spawned, vm);
}

static void vm_on_port(void *opaque, const struct problem *problem)
{
	struct vm *vm = opaque;

	if (problem && !vm->fault.status)
		vm->fault = *problem;
	if (--vm->pending)
		return;
	/* The switch died of it, or beside it: with nobody waiting, the next one is waited for. */
	if (vm->fault.gone && !vm->start_done)
		vm->after_end = vm_start_automatically;
	if (vm->fault.status || vm->cancelled)
		vm_end(vm);
	else
		vm_spawn(vm);
}

/* Should we die from here on, our successor looks for what may be there. */
static int vm_note_start(struct vm *vm)
{
	struct store_process process = { .pid = 0 };
	char name[VM_PROCESS_NAME_SIZE];

	snprintf(process.boot_id, sizeof(process.boot_id), "%s", vm->mgmt->boot_id);
	time_text(process.started_at);
	vm_process_name(vm, name);
	return store_process_set(vm->mgmt->store, name, &process);
}

/* The switch is there. */
static void vm_start_continue(struct vm *vm)
{
	json_t *nics = json_object_get(vm->spec, "nics"), *nic;
	struct problem problem;
	size_t i;

	vm->wants_switch = false;
	if (vm_note_start(vm) < 0) {
		store_problem(vm->mgmt->store, &problem);
		vm_fail_start(vm, &problem);
		return;
	}
	vm->pending = 1; /* ours, so that it goes on once, after the last */
	json_array_foreach(nics, i, nic) {
		vm->pending++;
		ports_add_nic(vm->mgmt->ports, vm->id, nic, vm->uid, vm_on_port, vm);
	}
	vm_on_port(vm, NULL);
}

static void vm_start_begin(struct vm *vm, const char *why)
{
	bool needs_switch = json_array_size(json_object_get(vm->spec, "nics")) > 0;
	struct problem problem;

	loop_timer_disarm(vm->restart);
	vm->cancelled = false;
	vm->given_up = false;
	vm->running_since_ms = 0;
	vm->pid = 0;
	memset(&vm->fault, 0, sizeof(vm->fault));
	if (!needs_switch || vswitch_is_up(vm->mgmt->vswitch)) {
		vm_set_state(vm, VM_STARTING, why);
		vm_start_continue(vm);
	} else if (vm->start_done) {
		vm_set_state(vm, VM_STARTING, why);
		problem_set(&problem, 503, NULL, "the switch is not running");
		vm_fail_start(vm, &problem);
	} else {
		vm->wants_switch = true;
		vm_set_state(vm, VM_STARTING, "it waits for the switch");
	}
}

void vm_start_automatically(struct vm *vm)
{
	/* Should it fail, the store says what is wanted: vms_reconcile tries again. */
	if (vm->desired == DESIRED_STOPPED && vm_set_desired(vm, DESIRED_RUNNING, false) < 0)
		log_err("VM %s is started without a note in the store", vm->id);
	vm_start_begin(vm, "");
}

void vm_start(struct vm *vm, done_fn done, void *opaque)
{
	struct problem problem;

	if (vm->state != VM_STOPPED && vm->state != VM_FAILED) {
		problem_set(&problem, 409, NULL,
			    "the VM is %s; start needs one that is stopped or failed",
			    vm_state_name(vm->state));
		done(opaque, &problem);
		return;
	}
	if (vm_set_desired(vm, DESIRED_RUNNING, false) < 0) {
		store_problem(vm->mgmt->store, &problem);
		done(opaque, &problem);
		return;
	}
	vm->backoff_ms = 0;
	vm->start_done = done;
	vm->start_opaque = opaque;
	vm_start_begin(vm, "");
}

void vms_switch_up(struct vms *vms)
{
	for (struct vm *vm = vms->first; vm; vm = vm->next) {
		if (!vm->wants_switch)
			continue;
		vm_set_state(vm, VM_STARTING, "");
		vm_start_continue(vm);
	}
}
