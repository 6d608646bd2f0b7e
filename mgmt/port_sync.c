#include "mgmt/port_private.h"

#include <stdlib.h>

#include "core/log.h"
#include "mgmt/vswitch.h"

#define RETRY_NS (2ULL * 1000000000)

struct ports_view {
	struct ports *ports;
	ports_json_fn fn;
	void *opaque;
};

static const json_t *list_find(const json_t *list, const char *id)
{
	json_t *element;
	size_t i;

	json_array_foreach(list, i, element) {
		const char *other = json_string_value(json_object_get(element, "id"));

		if (other && !strcmp(other, id))
			return element;
	}
	return NULL;
}

static void sync_on_added(void *opaque, const struct problem *problem)
{
	struct ports *ports = opaque;

	/* The device may still be held by the switch that died. */
	if (problem && loop_timer_arm(ports->retry, RETRY_NS) < 0)
		log_err("ports the switch refused stay away: out of memory");
}

static void sync_ignore(void *opaque, int code, const char *message, const json_t *data,
			const json_t *result)
{
	if (code && code != RPC_DISCONNECTED)
		log_warn("the switch keeps a port nobody wants: %s", message);
}

/* The operator gave it to the switch: it is shown, and nobody's to add or remove. */
static void sync_declared(struct ports *ports, const char *id, const json_t *element)
{
	json_t *spec = json_pack("{s:s, s:O?}", "id", id, "devargs",
				 json_object_get(element, "devargs"));
	struct port *port = spec ? ports_insert(ports, id, spec) : NULL;

	json_decref(spec);
	if (port)
		port->declared = true;
	else
		log_err("port %s is not shown: out of memory", id);
}

/* What the switch has and we do not know. */
static void sync_unknown(struct ports *ports, const json_t *list)
{
	json_t *element;
	size_t i;

	json_array_foreach((json_t *)list, i, element) {
		const char *id = json_string_value(json_object_get(element, "id"));

		if (!id || ports_find(ports, id))
			continue;
		if (json_is_true(json_object_get(element, "declared")))
			sync_declared(ports, id, element);
		else
			vswitch_call(ports->mgmt->vswitch, "port.remove",
				     json_pack("{s:s}", "id", id), sync_ignore, NULL);
	}
}

static void sync_on_list(void *opaque, int code, const char *message, const json_t *data,
			 const json_t *result)
{
	struct ports *ports = opaque;

	if (code) {
		if (code != RPC_DISCONNECTED)
			log_err("the switch does not list its ports: %s", message);
		return;
	}
	sync_unknown(ports, result);
	for (struct port *port = ports->first; port; port = port->next) {
		if (list_find(result, port->id))
			port_set_state(port, PORT_UP, "");
		else if (port->declared)
			port_set_state(port, PORT_FAILED, "this switch was not given it");
		else if ((!port->vm || port->prepared) && !port->adding && port->state != PORT_UP)
			port_ask_switch(port, sync_on_added, ports);
	}
}

void ports_switch_up(void *opaque)
{
	struct ports *ports = opaque;

	vswitch_call(ports->mgmt->vswitch, "port.list", NULL, sync_on_list, ports);
}

void ports_switch_down(void *opaque)
{
	struct ports *ports = opaque;

	loop_timer_disarm(ports->retry);
	for (struct port *port = ports->first; port; port = port->next)
		port_set_state(port, PORT_PENDING, "the switch is not running");
}

/* live: what the switch tells of it; NULL: nothing. */
static json_t *port_json(const struct port *port, const json_t *live)
{
	const char *link = json_string_value(json_object_get(live, "link"));
	json_t *counters = json_object_get(live, "counters");
	json_t *faults = json_object_get(live, "faults");
	json_t *json;

	json = json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s}", "id", port->id, "type",
			 port->vm ? "vhost-user" : "ethdev", "state", port_state_name(port), "vm",
			 port->vm, "nic", port->nic, "link",
			 link && !strcmp(link, "up") ? "up" : "down");
	if (!json)
		return NULL;
	if (port->reason[0])
		json_object_set_new(json, "reason", json_string(port->reason));
	if (port->vm)
		json_object_set_new(json, "socket", json_string(port->socket));
	else
		json_object_set(json, "devargs", json_object_get(port->spec, "devargs"));
	if (port->declared)
		json_object_set_new(json, "declared", json_true());
	if (counters)
		json_object_set(json, "counters", counters);
	if (faults)
		json_object_set(json, "faults", faults);
	return json;
}

static void view_on_list(void *opaque, int code, const char *message, const json_t *data,
			 const json_t *result)
{
	struct ports_view *view = opaque;
	json_t *list = json_array();

	for (struct port *port = view->ports->first; port; port = port->next)
		json_array_append_new(list, port_json(port, code ? NULL :
							      list_find(result, port->id)));
	view->fn(view->opaque, list);
	free(view);
}

void ports_json(struct ports *ports, ports_json_fn fn, void *opaque)
{
	struct ports_view *view = malloc(sizeof(*view));

	if (!view) {
		fn(opaque, NULL);
		return;
	}
	*view = (struct ports_view){ ports, fn, opaque };
	vswitch_call(ports->mgmt->vswitch, "port.list", NULL, view_on_list, view);
}
