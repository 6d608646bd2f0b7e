#include "mgmt/vm.h"

#include <errno.h>
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

struct vm *vms_first(struct vms *vms)
{
	return vms->first;
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

static void vm_free(struct vm *vm)
{
	struct vm_waiter *waiter;

	vm_control_close(vm);
	child_destroy(vm->child);
	loop_timer_destroy(vm->restart);
	loop_timer_destroy(vm->kill);
	loop_timer_destroy(vm->reconnect);
	while ((waiter = vm->waiters)) {
		vm->waiters = waiter->next;
		free(waiter);
	}
	json_decref(vm->spec);
	json_decref(vm->last_exit);
	free(vm);
}

static void vm_restart_due(void *opaque)
{
	struct vm *vm = opaque;

	vm->restarts++;
	vm_start_automatically(vm);
}

static void vm_reconnect_due(void *opaque)
{
	vm_control_connect(opaque);
}

/* spec is stolen. */
static struct vm *vm_create(struct vms *vms, const char *id, uid_t uid, json_t *spec)
{
	struct vm **link, *vm = calloc(1, sizeof(*vm));

	if (!vm) {
		json_decref(spec);
		return NULL;
	}
	*vm = (struct vm){ .vms = vms, .mgmt = vms->mgmt, .uid = uid, .spec = spec,
			  .log_limit = RATELIMIT_INIT(10000, 20) };
	snprintf(vm->id, sizeof(vm->id), "%s", id);
	vm->restart = loop_timer_create(vms->mgmt->loop, vm_restart_due, vm);
	vm->kill = loop_timer_create(vms->mgmt->loop, vm_kill, vm);
	vm->reconnect = loop_timer_create(vms->mgmt->loop, vm_reconnect_due, vm);
	if (!spec || !vm->restart || !vm->kill || !vm->reconnect) {
		vm_free(vm);
		return NULL;
	}
	for (link = &vms->first; *link && strcmp((*link)->id, id) < 0; link = &(*link)->next)
		;
	vm->next = *link;
	*link = vm;
	return vm;
}

struct vms *vms_create(struct mgmt *mgmt)
{
	struct vms *vms = calloc(1, sizeof(*vms));

	if (vms)
		vms->mgmt = mgmt;
	return vms;
}

void vms_destroy(struct vms *vms)
{
	struct vm *vm;

	if (!vms)
		return;
	while ((vm = vms->first)) {
		vms->first = vm->next;
		vm_free(vm);
	}
	free(vms);
}

struct vm *vms_find(struct vms *vms, const char *id)
{
	for (struct vm *vm = vms->first; vm; vm = vm->next) {
		if (!strcmp(vm->id, id))
			return vm;
	}
	return NULL;
}

static int vms_load_one(void *opaque, const struct store_vm *stored)
{
	struct vms *vms = opaque;
	struct vm *vm = vm_create(vms, stored->id, stored->uid,
				  json_loads(stored->spec, 0, NULL));

	if (!vm) {
		log_err("the store's VM %s cannot be read", stored->id);
		return -EIO;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(desired_names); i++) {
		if (!strcmp(stored->desired, desired_names[i]))
			vm->desired = i;
	}
	vm->forced = stored->forced;
	vm->last_exit = stored->last_exit ? json_loads(stored->last_exit, 0, NULL) : NULL;
	if (stored->failed) {
		const char *why = json_string_value(json_object_get(vm->last_exit, "message"));

		vm->state = VM_FAILED;
		snprintf(vm->reason, sizeof(vm->reason), "%s", why ? why : "");
	}
	return 0;
}

int vms_load(struct vms *vms)
{
	return store_vm_each(vms->mgmt->store, vms_load_one, vms);
}

bool vms_use_port(struct vms *vms, const char *port)
{
	char id[PORT_ID_SIZE];
	json_t *nic;
	size_t i;

	for (struct vm *vm = vms->first; vm; vm = vm->next) {
		json_array_foreach(json_object_get(vm->spec, "nics"), i, nic) {
			port_nic_id(vm->id, json_string_value(json_object_get(nic, "id")), id);
			if (!strcmp(id, port))
				return true;
		}
	}
	return false;
}

/* The name of a NIC's port must be one, and free. field: of the NIC's id. */
static int vm_check_port(struct vms *vms, const char *vm, const json_t *nic, const char *field,
			 struct problem *problem)
{
	char id[PORT_ID_SIZE];

	port_nic_id(vm, json_string_value(json_object_get(nic, "id")), id);
	if (strlen(id) > PORT_ID_MAX) {
		problem_set(problem, 422, field,
			    "its port would be called %s; allowed: %u characters", id, PORT_ID_MAX);
		return -EINVAL;
	}
	if (!ports_find(vms->mgmt->ports, id) && !vms_use_port(vms, id))
		return 0;
	problem_set(problem, 409, field, "its port would be called %s, and there is one", id);
	return -EEXIST;
}

static int vms_check_ports(struct vms *vms, const json_t *spec, struct problem *problem)
{
	const char *id = json_string_value(json_object_get(spec, "id"));
	char field[40];
	json_t *nic;
	size_t i;
	int err;

	json_array_foreach(json_object_get(spec, "nics"), i, nic) {
		snprintf(field, sizeof(field), "nics[%zu].id", i);
		err = vm_check_port(vms, id, nic, field, problem);
		if (err)
			return err;
	}
	return 0;
}

int vms_add(struct vms *vms, const json_t *spec, struct vm **vm, struct problem *problem)
{
	const char *id = json_string_value(json_object_get(spec, "id"));
	uid_t uid;
	int err;

	if (vms_find(vms, id)) {
		problem_set(problem, 409, "id", "there is a VM \"%s\" already", id);
		return -EEXIST;
	}
	err = vms_check_ports(vms, spec, problem);
	if (err)
		return err;
	err = store_vm_add(vms->mgmt->store, id, spec, &uid);
	if (err == -ENOSPC)
		problem_set(problem, 409, NULL, "there are %u VMs already, the most there can be",
			    STORE_UID_COUNT);
	else if (err)
		store_problem(vms->mgmt->store, problem);
	if (err)
		return err;
	*vm = vm_create(vms, id, uid, json_deep_copy(spec));
	if (!*vm) {
		if (store_vm_remove(vms->mgmt->store, id) < 0)
			log_warn("VM %s stays in the store", id);
		problem_set(problem, 503, NULL, "out of memory");
		return -ENOMEM;
	}
	events_emit(vms->mgmt->events, "vm", json_pack("{s:s, s:s}", "vm", id, "state", "stopped"));
	return 0;
}

static int vm_need_down(const struct vm *vm, struct problem *problem)
{
	if (vm->state == VM_STOPPED || vm->state == VM_FAILED)
		return 0;
	problem_set(problem, 409, NULL, "the VM is %s; this needs one that is stopped or failed",
		    state_names[vm->state]);
	return -EBUSY;
}

int vm_remove(struct vm *vm, struct problem *problem)
{
	struct vm **link;
	int err = vm_need_down(vm, problem);

	if (err)
		return err;
	err = store_vm_remove(vm->mgmt->store, vm->id);
	if (err) {
		store_problem(vm->mgmt->store, problem);
		return err;
	}
	events_emit(vm->mgmt->events, "vm",
		    json_pack("{s:s, s:s}", "vm", vm->id, "state", "removed"));
	for (link = &vm->vms->first; *link != vm; link = &(*link)->next)
		;
	*link = vm->next;
	vm_free(vm);
	return 0;
}

/* Takes over `spec`. */
static int vm_replace_spec(struct vm *vm, json_t *spec, struct problem *problem)
{
	int err = spec ? store_vm_set_spec(vm->mgmt->store, vm->id, spec) : -ENOMEM;

	if (err) {
		json_decref(spec);
		store_problem(vm->mgmt->store, problem);
		return err;
	}
	json_decref(vm->spec);
	vm->spec = spec;
	return 0;
}

int vm_add_device(struct vm *vm, const char *key, const json_t *device, struct problem *problem)
{
	json_t *spec;
	int err = vm_need_down(vm, problem);

	if (!err)
		err = device_spec_fits(vm->spec, device, problem);
	if (!err && !strcmp(key, "nics"))
		err = vm_check_port(vm->vms, vm->id, device, "id", problem);
	if (err)
		return err;
	spec = json_deep_copy(vm->spec);
	json_array_append_new(json_object_get(spec, key), json_deep_copy(device));
	return vm_replace_spec(vm, spec, problem);
}

int vm_remove_device(struct vm *vm, const char *key, const char *id, struct problem *problem)
{
	json_t *spec;
	size_t index;
	int err = vm_need_down(vm, problem);

	if (err)
		return err;
	if (!spec_find_device(vm->spec, key, id, &index)) {
		problem_set(problem, 404, NULL, "the VM has no such device");
		return -ENOENT;
	}
	spec = json_deep_copy(vm->spec);
	json_array_remove(json_object_get(spec, key), index);
	return vm_replace_spec(vm, spec, problem);
}

int vm_set_policy(struct vm *vm, const json_t *policy, struct problem *problem)
{
	json_t *spec = json_deep_copy(vm->spec);

	json_object_update(spec, (json_t *)policy);
	return vm_replace_spec(vm, spec, problem);
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
