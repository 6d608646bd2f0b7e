#include <errno.h>
#include <stdio.h>

#include "core/log.h"
#include "mgmt/port.h"
#include "mgmt/vm_private.h"

#define GUESS_TIMEOUT_MS 120000u /* it may be prefaulting its memory */

static void vm_adopt_ports(struct vm *vm)
{
	json_t *nics = json_object_get(vm->spec, "nics"), *nic;
	size_t i;

	json_array_foreach(nics, i, nic) {
		if (ports_adopt_nic(vm->mgmt->ports, vm->id, nic, vm->uid) < 0)
			log_err("VM %s: a port is lost: out of memory", vm->id);
	}
}

/* It ended while nobody watched. */
static void vm_adopt_end(struct vm *vm)
{
	vm_set_state(vm, VM_STOPPING, "its process has ended");
	vm->after_end = json_is_true(json_object_get(vm->spec, "autostart")) ?
				vm_start_automatically : NULL;
	vm_on_exit(vm, NULL);
}

/*
 * No process, and none is on its way any more. Without a record none has run: then the start goes
 * on, unless it was called off.
 */
static void vm_adopt_none(struct vm *vm)
{
	if (vm_exit_recorded(vm)) {
		vm_adopt_end(vm);
		return;
	}
	if (vm->desired != DESIRED_STOPPED)
		vm->after_end = vm_start_automatically;
	vm_end(vm);
}

static int vm_adopt_process(struct vm *vm, const struct store_process *process)
{
	int err = child_create(vm->mgmt->supervisor, process->pid, process->start_time, false,
			       vm_on_exit, vm, &vm->child);

	if (err)
		return err;
	vm->pid = process->pid;
	vm->running_since_ms = monotonic_ms();
	snprintf(vm->started_at, sizeof(vm->started_at), "%s", process->started_at);
	log_info("VM %s is there already, pid %d", vm->id, (int)vm->pid);
	return 0;
}

static void vm_on_guess(void *opaque, int code, const char *message, const json_t *data,
			const json_t *result)
{
	struct store_process process = { 0 };
	char name[VM_PROCESS_NAME_SIZE];
	struct vm *vm = opaque;

	process.pid = (pid_t)json_integer_value(json_object_get(result, "pid"));
	snprintf(process.boot_id, sizeof(process.boot_id), "%s", vm->mgmt->boot_id);
	time_text(process.started_at);
	vm_disconnect(vm);
	/* What a vmm says of itself is checked: it must not name another VM's process. */
	if (code || !process_has_uid(process.pid, vm->uid) ||
	    process_start_time(process.pid, &process.start_time) < 0 ||
	    vm_adopt_process(vm, &process) < 0) {
		vm_adopt_none(vm);
		return;
	}
	vm_process_name(vm, name);
	if (store_process_set(vm->mgmt->store, name, &process) < 0)
		log_warn("a restarted daemon will have to guess VM %s's process", vm->id);
	vm_control_connect(vm);
}

/*
 * Our predecessor died while it had the VM spawned, before it could note the process: if somebody
 * answers on the VM's control socket, it is that. vmm-launch has answered: what its predecessor was
 * at is done.
 */
static void vm_adopt_guess(struct vm *vm)
{
	struct rpc_client_events events = { 0 };
	char path[MGMT_PATH_SIZE];

	vm_run_path(vm, "control.sock", path);
	vm_set_state(vm, VM_STARTING, "its process is looked for");
	if (rpc_client_connect(vm->mgmt->loop, path, &events, &vm->client) < 0)
		vm_adopt_none(vm);
	else
		rpc_ask(vm->client, "vm.info", NULL, GUESS_TIMEOUT_MS, vm_on_guess, vm);
}

/* Its process is as it was noted; or has ended. */
static int vm_reconcile_known(struct vm *vm, const struct store_process *process)
{
	int err = vm_adopt_process(vm, process);

	if (err == -ESRCH || err == -EINVAL) {
		vm_adopt_end(vm);
		return 0;
	}
	if (err)
		return err;
	/* vm.info tells which it really is. */
	vm_set_state(vm, vm->desired == DESIRED_PAUSED ? VM_PAUSED : VM_RUNNING, "");
	vm_control_connect(vm);
	return 0;
}

static int vm_reconcile(struct vm *vm)
{
	struct store_process process;
	char name[VM_PROCESS_NAME_SIZE];
	int err;

	vm_process_name(vm, name);
	err = store_process_get(vm->mgmt->store, name, &process);
	if (err && err != -ENOENT)
		return err;
	if (err) {
		/* Wanted, but we died before the first step; or marked to come with us. */
		if (vm->desired != DESIRED_STOPPED ||
		    json_is_true(json_object_get(vm->spec, "autostart")))
			vm_start_automatically(vm);
		return 0;
	}
	vm->pid = process.pid;
	if (strcmp(process.boot_id, vm->mgmt->boot_id) != 0) {
		vm_adopt_end(vm);
		return 0;
	}
	vm_adopt_ports(vm);
	if (process.pid)
		return vm_reconcile_known(vm, &process);
	vm_adopt_guess(vm);
	return 0;
}

int vms_reconcile(struct vms *vms)
{
	int err = 0;

	for (struct vm *vm = vms->first; vm && !err; vm = vm->next) {
		err = vm_reconcile(vm);
		if (err)
			log_err("whether VM %s runs cannot be told: %s", vm->id, strerror(-err));
	}
	return err;
}
