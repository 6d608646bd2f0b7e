#include <stdio.h>

#include "mgmt/api.h"
#include "mgmt/vm.h"
#include "mgmt/vm_spec.h"

/* What NICs and disks differ in. */
struct kind {
	const char *key; /* in the VM's spec, and in paths */
	const char *name;
	int (*check)(const json_t *body, const char *path, json_t **out, struct problem *problem);
	json_t *(*json)(const struct vm *vm, const json_t *device);
};

static json_t *disk_json(const struct vm *vm, const json_t *disk)
{
	return json_deep_copy(disk);
}

static const struct kind nics = { "nics", "NIC", nic_spec_check, vm_nic_json };
static const struct kind disks = { "disks", "disk", disk_spec_check, disk_json };

static void list(struct http_request *request, const struct kind *kind)
{
	struct vm *vm = api_find_vm(request);
	json_t *items, *device;
	size_t i;

	if (!vm)
		return;
	items = json_array();
	json_array_foreach(json_object_get(vm_spec(vm), kind->key), i, device)
		json_array_append_new(items, kind->json(vm, device));
	request_reply(request, 200, json_pack("{s:o}", "items", items));
}

static void add(struct http_request *request, const struct kind *kind)
{
	struct vm *vm = api_find_vm(request);
	json_t *body = vm ? request_body(request, false) : NULL, *device;
	struct problem problem;
	char location[128];

	if (!body)
		return;
	if (kind->check(body, "", &device, &problem) < 0) {
		request_fail(request, &problem);
	} else {
		if (vm_add_device(vm, kind->key, device, &problem) < 0) {
			request_fail(request, &problem);
		} else {
			snprintf(location, sizeof(location), "/v1/vms/%s/%s/%s", vm_id(vm),
				 kind->key,
				 json_string_value(json_object_get(device, "id")));
			request_reply_created(request, location, kind->json(vm, device));
		}
		json_decref(device);
	}
	json_decref(body);
}

/* The device the path names; NULL when it was answered already, for there is none. */
static json_t *find(struct http_request *request, const struct kind *kind, struct vm *vm)
{
	json_t *device = spec_find_device(vm_spec(vm), kind->key, request_param(request, 1), NULL);

	if (!device)
		request_refuse(request, 404, NULL, "VM \"%s\" has no %s \"%s\"", vm_id(vm),
			       kind->name, request_param(request, 1));
	return device;
}

static void get(struct http_request *request, const struct kind *kind)
{
	struct vm *vm = api_find_vm(request);
	json_t *device = vm ? find(request, kind, vm) : NULL;

	if (device)
		request_reply(request, 200, kind->json(vm, device));
}

static void take_out(struct http_request *request, const struct kind *kind)
{
	struct vm *vm = api_find_vm(request);
	struct problem problem;

	if (!vm || !find(request, kind, vm))
		return;
	if (vm_remove_device(vm, kind->key, request_param(request, 1), &problem) < 0)
		request_fail(request, &problem);
	else
		request_reply_empty(request);
}

void api_nics_list(struct http_request *request)
{
	list(request, &nics);
}

void api_nics_add(struct http_request *request)
{
	add(request, &nics);
}

void api_nic_get(struct http_request *request)
{
	get(request, &nics);
}

void api_nic_remove(struct http_request *request)
{
	take_out(request, &nics);
}

void api_disks_list(struct http_request *request)
{
	list(request, &disks);
}

void api_disks_add(struct http_request *request)
{
	add(request, &disks);
}

void api_disk_get(struct http_request *request)
{
	get(request, &disks);
}

void api_disk_remove(struct http_request *request)
{
	take_out(request, &disks);
}
