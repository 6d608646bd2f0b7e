#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_text.h"
#include "core/log.h"
#include "mgmt/port.h"
#include "mgmt/vm_private.h"

static void vm_free(struct vm *vm)
{
	struct vm_waiter *waiter;

	vm_disconnect(vm);
	child_destroy(vm->child);
	loop_timer_destroy(vm->restart);
	loop_timer_destroy(vm->kill);
	loop_timer_destroy(vm->reconnect);
	loop_timer_destroy(vm->spawn);
	while ((waiter = vm->waiters)) {
		vm->waiters = waiter->next;
		free(waiter);
	}
	vm->vms->spec_bytes -= vm->spec_bytes;
	json_decref(vm->spec);
	json_decref(vm->last_exit);
	free(vm);
}

/* Takes over `spec`. */
static void vm_put_spec(struct vm *vm, json_t *spec)
{
	json_decref(vm->spec);
	vm->vms->spec_bytes -= vm->spec_bytes;
	vm->spec = spec;
	vm->spec_bytes = spec ? json_dumpb(spec, NULL, 0, JSON_COMPACT) : 0;
	vm->vms->spec_bytes += vm->spec_bytes;
}

/* All VMs are told in one answer: what can be told of them has to be bounded. */
static int vms_check_room(const struct vms *vms, const json_t *spec, size_t before,
			  struct problem *problem)
{
	size_t bytes = json_dumpb(spec, NULL, 0, JSON_COMPACT);

	if (bytes <= before || vms->spec_bytes - before + bytes <= VMS_MAX_SPEC_BYTES)
		return 0;
	problem_set(problem, 409, NULL,
		    "%zu bytes more would be needed to define it; all VMs together have %u MiB, "
		    "of which %zu KiB are taken",
		    bytes - before, VMS_MAX_SPEC_BYTES >> 20, vms->spec_bytes >> 10);
	return -ENOSPC;
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
	*vm = (struct vm){ .vms = vms, .mgmt = vms->mgmt, .uid = uid,
			  .log_limit = RATELIMIT_INIT(10000, 20) };
	vm_put_spec(vm, spec);
	snprintf(vm->id, sizeof(vm->id), "%s", id);
	vm->restart = loop_timer_create(vms->mgmt->loop, vm_restart_due, vm);
	vm->kill = loop_timer_create(vms->mgmt->loop, vm_kill, vm);
	vm->reconnect = loop_timer_create(vms->mgmt->loop, vm_reconnect_due, vm);
	vm->spawn = loop_timer_create(vms->mgmt->loop, vm_spawn_overdue, vm);
	if (!spec || !vm->restart || !vm->kill || !vm->reconnect || !vm->spawn) {
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

struct vm *vms_first(struct vms *vms)
{
	return vms->first;
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
	json_t *spec = NULL, *last_exit = NULL;
	json_error_t error;
	struct vm *vm;
	int err;

	err = json_text_load(stored->spec, strlen(stored->spec), 0, &spec, &error);
	if (!err && stored->last_exit)
		err = json_text_load(stored->last_exit, strlen(stored->last_exit), 0, &last_exit,
				     &error);
	if (err) {
		log_err("the store's VM %s cannot be read: %s", stored->id, error.text);
		json_decref(spec);
		return err;
	}
	vm = vm_create(vms, stored->id, stored->uid, spec);
	if (!vm) {
		log_err("the store's VM %s: out of memory", stored->id);
		json_decref(last_exit);
		return -ENOMEM;
	}
	vm->desired = vm_desired_by_name(stored->desired);
	vm->forced = stored->forced;
	vm->last_exit = last_exit;
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
	if (!err)
		err = vms_check_room(vms, spec, 0, problem);
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
		    vm_state_name(vm->state));
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
	int err = spec ? vms_check_room(vm->vms, spec, vm->spec_bytes, problem) : 0;

	if (err) {
		json_decref(spec);
		return err;
	}
	err = spec ? store_vm_set_spec(vm->mgmt->store, vm->id, spec) : -ENOMEM;
	if (err) {
		json_decref(spec);
		store_problem(vm->mgmt->store, problem);
		return err;
	}
	vm_put_spec(vm, spec);
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
	if (json_array_append_new(json_object_get(spec, key), json_deep_copy(device)) < 0) {
		json_decref(spec);
		spec = NULL;
	}
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
