#include <stdio.h>

#include "mgmt/api.h"
#include "mgmt/port.h"
#include "mgmt/vm_spec.h"

static json_t *list_find(json_t *list, const char *id)
{
	json_t *port;
	size_t i;

	json_array_foreach(list, i, port) {
		if (!strcmp(json_string_value(json_object_get(port, "id")), id))
			return port;
	}
	return NULL;
}

static void on_list(void *opaque, json_t *list)
{
	request_reply(opaque, 200, list ? json_pack("{s:o}", "items", list) : NULL);
}

void api_ports_list(struct http_request *request)
{
	ports_json(request_mgmt(request)->ports, on_list, request);
}

static void refuse_unknown(struct http_request *request)
{
	request_refuse(request, 404, NULL, "there is no port \"%s\"", request_param(request, 0));
}

static void on_list_for_one(void *opaque, json_t *list)
{
	struct http_request *request = opaque;
	json_t *port = list_find(list, request_param(request, 0));

	if (port || !list) /* no list: out of memory */
		request_reply(request, 200, json_incref(port));
	else
		refuse_unknown(request);
	json_decref(list);
}

void api_port_get(struct http_request *request)
{
	ports_json(request_mgmt(request)->ports, on_list_for_one, request);
}

static void on_list_for_new(void *opaque, json_t *list)
{
	const char *id = request_param(opaque, 0);
	char location[96];

	snprintf(location, sizeof(location), "/v1/ports/%s", id);
	request_reply_created(opaque, location, json_incref(list_find(list, id)));
	json_decref(list);
}

static void on_added(void *opaque, const struct problem *problem)
{
	if (problem)
		request_fail(opaque, problem);
	else
		ports_json(request_mgmt(opaque)->ports, on_list_for_new, opaque);
}

void api_ports_add(struct http_request *request)
{
	json_t *body = request_body(request, false), *spec;
	struct problem problem;

	if (!body)
		return;
	if (port_spec_check(body, &spec, &problem) < 0) {
		request_fail(request, &problem);
	} else {
		request_set_param(request, 0, json_string_value(json_object_get(spec, "id")));
		ports_add_uplink(request_mgmt(request)->ports, spec, on_added, request);
		json_decref(spec);
	}
	json_decref(body);
}

static void on_removed(void *opaque, const struct problem *problem)
{
	if (problem)
		request_fail(opaque, problem);
	else
		request_reply_empty(opaque);
}

void api_port_remove(struct http_request *request)
{
	struct ports *ports = request_mgmt(request)->ports;
	struct port *port = ports_find(ports, request_param(request, 0));

	if (!port)
		refuse_unknown(request);
	else if (port_is_nic(port))
		request_refuse(request, 409, NULL,
			       "the port of a VM's NIC goes when the VM stops");
	else if (port_is_declared(port))
		request_refuse(request, 409, NULL,
			       "this uplink is the operator's (--uplink in vmm-mgmt's --switch-args) "
			       "and stays as long as the switch");
	else
		ports_remove_uplink(ports, port, on_removed, request);
}
