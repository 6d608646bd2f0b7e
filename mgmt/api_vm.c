#include <stdio.h>

#include "mgmt/api.h"
#include "mgmt/vm.h"
#include "mgmt/vm_spec.h"

struct vm *api_find_vm(struct http_request *request)
{
	struct vm *vm = vms_find(request_mgmt(request)->vms, request_param(request, 0));

	if (!vm)
		request_refuse(request, 404, NULL, "there is no VM \"%s\"",
			       request_param(request, 0));
	return vm;
}

void api_vms_list(struct http_request *request)
{
	json_t *items = json_array();

	for (struct vm *vm = vms_first(request_mgmt(request)->vms); vm; vm = vm_next(vm))
		json_array_append_new(items, vm_json(vm));
	request_reply(request, 200, json_pack("{s:o}", "items", items));
}

void api_vms_create(struct http_request *request)
{
	json_t *body = request_body(request, false), *spec;
	struct problem problem;
	char location[64];
	struct vm *vm;
	int err;

	if (!body)
		return;
	err = vm_spec_check(body, &spec, &problem);
	json_decref(body);
	if (!err) {
		err = vms_add(request_mgmt(request)->vms, spec, &vm, &problem);
		json_decref(spec);
	}
	if (err) {
		request_fail(request, &problem);
		return;
	}
	snprintf(location, sizeof(location), "/v1/vms/%s", vm_id(vm));
	request_reply_created(request, location, vm_json(vm));
}

void api_vm_get(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);

	if (vm)
		request_reply(request, 200, vm_json(vm));
}

void api_vm_update(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);
	json_t *body = vm ? request_body(request, false) : NULL, *policy;
	struct problem problem;
	int err;

	if (!body)
		return;
	err = vm_policy_check(body, &policy, &problem);
	json_decref(body);
	if (!err) {
		err = vm_set_policy(vm, policy, &problem);
		json_decref(policy);
	}
	if (err)
		request_fail(request, &problem);
	else
		request_reply(request, 200, vm_json(vm));
}

void api_vm_delete(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);
	struct problem problem;

	if (!vm)
		return;
	if (vm_remove(vm, &problem) < 0)
		request_fail(request, &problem);
	else
		request_reply_empty(request);
}

/* Answers with the VM as it is now, wherever an operation has brought it. */
static void reply_with_vm(struct http_request *request, int status, const struct problem *problem)
{
	struct vm *vm;

	if (problem) {
		request_fail(request, problem);
		return;
	}
	vm = api_find_vm(request);
	if (vm)
		request_reply(request, status, vm_json(vm));
}

static void on_done(void *opaque, const struct problem *problem)
{
	reply_with_vm(opaque, 200, problem);
}

static void on_accepted(void *opaque, const struct problem *problem)
{
	reply_with_vm(opaque, 202, problem);
}

void api_vm_start(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);

	if (vm)
		vm_start(vm, on_done, request);
}

void api_vm_stop(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);

	if (vm)
		vm_stop(vm, on_done, request);
}

static void act(struct http_request *request, enum vm_action action, done_fn done)
{
	struct vm *vm = api_find_vm(request);

	if (vm)
		vm_act(vm, action, done, request);
}

void api_vm_shutdown(struct http_request *request)
{
	act(request, VM_SHUTDOWN, on_accepted);
}

void api_vm_pause(struct http_request *request)
{
	act(request, VM_PAUSE, on_done);
}

void api_vm_resume(struct http_request *request)
{
	act(request, VM_RESUME, on_done);
}

void api_vm_reset(struct http_request *request)
{
	act(request, VM_RESET, on_done);
}

static void on_answer(void *opaque, const struct problem *problem, const json_t *result)
{
	if (problem)
		request_fail(opaque, problem);
	else if (!json_is_object(result))
		request_refuse(opaque, 503, NULL, "the vmm answered with no object");
	else
		request_reply(opaque, 200, json_deep_copy(result));
}

void api_vm_info(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);

	if (vm)
		vm_query(vm, "vm.info", on_answer, request);
}

void api_vm_counters(struct http_request *request)
{
	struct vm *vm = api_find_vm(request);

	if (vm)
		vm_query(vm, "vm.counters", on_answer, request);
}
