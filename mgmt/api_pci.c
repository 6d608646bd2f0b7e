#include "mgmt/api.h"
#include "mgmt/supervisor.h"

/* vmm-launch reads what we may not open, and answers whoever asks with the same patience as for a start. */
static void ask(struct http_request *request, const char *method, rpc_reply_fn fn)
{
	struct mgmt *mgmt = request_mgmt(request);

	supervisor_call(mgmt->supervisor, method, NULL, mgmt->options->spawn_timeout * 1000, fn,
			request);
}

static void refuse(struct http_request *request, int code, const char *message)
{
	struct problem problem;

	problem_from_rpc(&problem, "vmm-launch", code, message, NULL);
	problem.status = 503;
	request_fail(request, &problem);
}

/* As vmm-launch has it, and who holds it: nobody can yet. */
static json_t *device_json(const json_t *device)
{
	json_t *json = json_deep_copy(device);

	json_object_set_new(json, "holder", json_null());
	return json;
}

static const char *member(const json_t *object, const char *outer, const char *inner)
{
	return json_string_value(json_object_get(json_object_get(object, outer), inner));
}

/* Also what its answer has to say of what it left out. */
static void reply(struct http_request *request, const json_t *result, json_t *items)
{
	request_reply(request, 200,
		      json_pack("{s:o, s:b}", "items", items, "truncated",
				json_is_true(json_object_get(result, "truncated"))));
}

static void on_devices(void *opaque, int code, const char *message, const json_t *data,
		       const json_t *result)
{
	json_t *list, *device;
	size_t i;

	if (code) {
		refuse(opaque, code, message);
		return;
	}
	list = json_array();
	json_array_foreach(json_object_get(result, "items"), i, device)
		json_array_append_new(list, device_json(device));
	reply(opaque, result, list);
}

void api_pci_devices_list(struct http_request *request)
{
	ask(request, "pci.list", on_devices);
}

/* The VFs of a PF in the order of their addresses, which is that of their numbers. */
static json_t *pf_json(const json_t *pf, const json_t *devices)
{
	const char *bdf = json_string_value(json_object_get(pf, "bdf")), *of;
	json_t *vfs = json_array(), *device;
	size_t i;

	json_array_foreach((json_t *)devices, i, device) {
		of = member(device, "vf_of", "pf");
		if (bdf && of && !strcmp(of, bdf))
			json_array_append_new(vfs, device_json(device));
	}
	return json_pack("{s:o, s:o}", "pf", device_json(pf), "vfs", vfs);
}

static void on_pfs(void *opaque, int code, const char *message, const json_t *data,
		   const json_t *result)
{
	const json_t *devices = json_object_get(result, "items");
	json_t *list, *device;
	size_t i;

	if (code) {
		refuse(opaque, code, message);
		return;
	}
	list = json_array();
	json_array_foreach((json_t *)devices, i, device) {
		if (json_is_object(json_object_get(device, "sriov")))
			json_array_append_new(list, pf_json(device, devices));
	}
	reply(opaque, result, list);
}

void api_sriov_pfs_list(struct http_request *request)
{
	ask(request, "pci.list", on_pfs);
}

static void on_checks(void *opaque, int code, const char *message, const json_t *data,
		      const json_t *result)
{
	if (code)
		refuse(opaque, code, message);
	else
		request_reply(opaque, 200, json_deep_copy(result));
}

void api_host_doctor(struct http_request *request)
{
	ask(request, "host.doctor", on_checks);
}
