#include "mgmt/vm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/log.h"
#include "mgmt/port.h"
#include "mgmt/vm_private.h"

static const char *const state_names[] = { "stopped", "starting", "running",
					   "paused",  "stopping", "failed" };
static const char *const desired_names[] = { "stopped", "running", "paused" };

const char *vm_id(const struct vm *vm)
{
	return vm->id;
}

enum vm_state vm_state(const struct vm *vm)
{
	return vm->state;
}

const char *vm_state_name(enum vm_state state)
{
	return state_names[state];
}

unsigned int vm_restarts(const struct vm *vm)
{
	return vm->restarts;
}

const json_t *vm_spec(const struct vm *vm)
{
	return vm->spec;
}

struct vm *vm_next(const struct vm *vm)
{
	return vm->next;
}

uint64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void vm_process_name(const struct vm *vm, char name[VM_PROCESS_NAME_SIZE])
{
	snprintf(name, VM_PROCESS_NAME_SIZE, "vm:%s", vm->id);
}

void vm_run_path(const struct vm *vm, const char *file, char path[MGMT_PATH_SIZE])
{
	snprintf(path, MGMT_PATH_SIZE, "%s/vms/%s/%s", vm->mgmt->options->run_dir, vm->id, file);
}

const char *vm_restart_policy(const struct vm *vm)
{
	return json_string_value(json_object_get(vm->spec, "restart"));
}

bool vm_is_down(const struct vm *vm)
{
	return (vm->state == VM_STOPPED || vm->state == VM_FAILED) &&
	       vm->desired == DESIRED_STOPPED;
}

enum vm_desired vm_desired_by_name(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(desired_names); i++) {
		if (!strcmp(name, desired_names[i]))
			return i;
	}
	return DESIRED_STOPPED;
}

const char *vm_desired_name(enum vm_desired desired)
{
	return desired_names[desired];
}

void vm_set_state(struct vm *vm, enum vm_state state, const char *reason)
{
	if (vm->state == state && !strcmp(vm->reason, reason))
		return;
	vm->state = state;
	snprintf(vm->reason, sizeof(vm->reason), "%s", reason);
	log_msg_limited(&vm->log_limit, LOG_LEVEL_INFO, "VM %s is %s%s%s", vm->id,
			state_names[state], reason[0] ? ": " : "", reason);
	events_emit(vm->mgmt->events, "vm",
		    json_pack("{s:s, s:s, s:s, s:s}", "vm", vm->id, "state", state_names[state],
			      "desired", desired_names[vm->desired], "reason", vm->reason));
}

int vm_set_desired(struct vm *vm, enum vm_desired desired, bool forced)
{
	int err = store_vm_set_desired(vm->mgmt->store, vm->id, desired_names[desired], forced);

	if (err)
		return err;
	vm->desired = desired;
	vm->forced = forced;
	return 0;
}

int vm_add_waiter(struct vm *vm, done_fn done, void *opaque)
{
	struct vm_waiter **last, *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		return -ENOMEM;
	*waiter = (struct vm_waiter){ .done = done, .opaque = opaque };
	for (last = &vm->waiters; *last; last = &(*last)->next)
		;
	*last = waiter;
	return 0;
}

void vm_disconnect(struct vm *vm)
{
	struct rpc_client *client = vm->client;

	loop_timer_disarm(vm->reconnect);
	vm->client = NULL;
	rpc_client_destroy(client);
}

void vm_kill(void *opaque)
{
	struct vm *vm = opaque;

	if (vm->child)
		child_kill(vm->child, SIGKILL);
}

json_t *vm_nic_json(const struct vm *vm, const json_t *nic)
{
	json_t *json = json_deep_copy(nic);
	char port[PORT_ID_SIZE];

	port_nic_id(vm->id, json_string_value(json_object_get(nic, "id")), port);
	json_object_set_new(json, "port", json_string(port));
	return json;
}

json_t *vm_json(const struct vm *vm)
{
	json_t *json = json_deep_copy(vm->spec), *nics = json_array(), *nic;
	char console[MGMT_PATH_SIZE];
	size_t i;

	json_array_foreach(json_object_get(vm->spec, "nics"), i, nic)
		json_array_append_new(nics, vm_nic_json(vm, nic));
	vm_run_path(vm, "console.sock", console);
	json_object_set_new(json, "nics", nics);
	json_object_set_new(json, "state", json_string(state_names[vm->state]));
	json_object_set_new(json, "desired", json_string(desired_names[vm->desired]));
	json_object_set_new(json, "reason", json_string(vm->reason));
	json_object_set_new(json, "uid", json_integer(vm->uid));
	json_object_set_new(json, "pid", vm->child ? json_integer(vm->pid) : json_null());
	json_object_set_new(json, "restarts", json_integer(vm->restarts));
	json_object_set_new(json, "console", json_string(console));
	json_object_set_new(json, "started_at",
			    vm->child ? json_string(vm->started_at) : json_null());
	json_object_set_new(json, "last_exit",
			    vm->last_exit ? json_incref(vm->last_exit) : json_null());
	return json;
}
