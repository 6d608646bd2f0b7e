#include "mgmt/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "mgmt/events.h"
#include "mgmt/mgmt.h"
#include "mgmt/port_private.h"
#include "mgmt/supervisor.h"
#include "mgmt/vswitch.h"

#define LAUNCH_TIMEOUT_MS 10000u

static const char *const state_names[] = { "pending", "up", "failed" };

void port_nic_id(const char *vm, const char *nic, char id[PORT_ID_SIZE])
{
	snprintf(id, PORT_ID_SIZE, "%s-%s", vm, nic);
}

static void port_put(struct port *port)
{
	if (--port->refs)
		return;
	json_decref(port->spec);
	free(port->vm);
	free(port->nic);
	free(port);
}

static void port_op_begin(struct port_op *op, struct port *port, done_fn done, void *opaque)
{
	*op = (struct port_op){ .port = port, .done = done, .opaque = opaque };
	port->refs++;
}

struct port_op *port_op_create(struct port *port, done_fn done, void *opaque)
{
	struct port_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	port_op_begin(op, port, done, opaque);
	return op;
}

void port_op_finish(struct port_op *op, const struct problem *problem)
{
	struct port *port;

	if (op->done)
		op->done(op->opaque, problem);
	port = op->port;
	if (op != &port->removal)
		free(op);
	port_put(port);
}

void port_op_out_of_memory(done_fn done, void *opaque)
{
	struct problem problem;

	problem_set(&problem, 503, NULL, "out of memory");
	done(opaque, &problem);
}

void port_set_state(struct port *port, enum port_state state, const char *reason)
{
	if (port->state == state && !strcmp(port->reason, reason))
		return;
	port->state = state;
	snprintf(port->reason, sizeof(port->reason), "%s", reason);
	if (state == PORT_FAILED)
		log_err("port %s: %s", port->id, reason);
	events_emit(port->ports->mgmt->events, "port",
		    json_pack("{s:s, s:s, s:s}", "port", port->id, "state", state_names[state],
			      "reason", port->reason));
}

const char *port_state_name(const struct port *port)
{
	return state_names[port->state];
}

struct port *ports_find(struct ports *ports, const char *id)
{
	for (struct port *port = ports->first; port; port = port->next) {
		if (!strcmp(port->id, id))
			return port;
	}
	return NULL;
}

bool port_is_nic(const struct port *port)
{
	return port->vm;
}

bool port_is_declared(const struct port *port)
{
	return port->declared;
}

struct port *ports_insert(struct ports *ports, const char *id, const json_t *spec)
{
	struct port **last, *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	*port = (struct port){ .ports = ports, .refs = 1 };
	snprintf(port->id, sizeof(port->id), "%s", id);
	port->spec = json_deep_copy(spec);
	if (!port->spec) {
		free(port);
		return NULL;
	}
	for (last = &ports->first; *last; last = &(*last)->next)
		;
	*last = port;
	return port;
}

void port_unlink(struct port *port)
{
	struct port **link;

	for (link = &port->ports->first; *link && *link != port; link = &(*link)->next)
		;
	if (*link) {
		*link = port->next;
		port->removed = true;
		port_put(port);
	}
}

static void port_ask(struct port_op *op);

static void port_on_stale_removed(void *opaque, int code, const char *message, const json_t *data,
				  const json_t *result)
{
	struct port_op *op = opaque;

	if (code && code != RPC_NOT_FOUND && code != RPC_DISCONNECTED)
		log_warn("the switch keeps another port %s: %s", op->port->id, message);
	port_ask(op);
}

static void port_on_added(void *opaque, int code, const char *message, const json_t *data,
			  const json_t *result)
{
	struct port_op *op = opaque;
	struct port *port = op->port;
	struct problem problem;
	const char *field;

	/* A predecessor of ours had it added, for a life of the VM that has ended since. */
	if (code == RPC_EXISTS && !op->again) {
		op->again = true;
		vswitch_call(port->ports->mgmt->vswitch, "port.remove",
			     json_pack("{s:s}", "id", port->id), port_on_stale_removed, op);
		return;
	}
	port->adding = false;
	if (!code) {
		if (!port->removed)
			port_set_state(port, PORT_UP, "");
		port_op_finish(op, NULL);
		return;
	}
	field = json_string_value(json_object_get(data, "field"));
	problem_from_rpc(&problem, "the switch", code, message, NULL);
	/* A NIC's port is our own request, not the client's words. */
	if (port->vm)
		problem.status = 503;
	else if (field)
		snprintf(problem.field, sizeof(problem.field), "%s", field);
	if (!port->removed)
		port_set_state(port, code == RPC_DISCONNECTED ? PORT_PENDING : PORT_FAILED,
			       problem.detail);
	port_op_finish(op, &problem);
}

static void port_ask(struct port_op *op)
{
	struct port *port = op->port;
	json_t *params;

	if (port->vm)
		params = json_pack("{s:s, s:s, s:s, s:s, s:O, s:O}", "id", port->id, "type",
				   "vhost-user", "socket", port->socket, "role", "server",
				   "queue_pairs", json_object_get(port->spec, "queue_pairs"),
				   "mtu", json_object_get(port->spec, "mtu"));
	else
		params = json_deep_copy(port->spec);
	vswitch_call(port->ports->mgmt->vswitch, "port.add", params, port_on_added, op);
}

void port_ask_switch(struct port *port, done_fn done, void *opaque)
{
	struct port_op *op = port_op_create(port, done, opaque);

	if (op) {
		port->adding = true;
		port_ask(op);
	} else if (done) {
		port_op_out_of_memory(done, opaque);
	}
}

static void port_on_prepared(void *opaque, int code, const char *message, const json_t *data,
			     const json_t *result)
{
	struct port_op *op = opaque;
	struct problem problem;

	if (code) {
		problem_from_rpc(&problem, "vmm-launch", code, message, NULL);
		problem.status = 503;
		if (!op->port->removed)
			port_set_state(op->port, PORT_FAILED, problem.detail);
		port_op_finish(op, &problem);
		return;
	}
	op->port->prepared = true;
	port_ask_switch(op->port, op->done, op->opaque);
	op->done = NULL;
	port_op_finish(op, NULL);
}

static struct port *ports_insert_nic(struct ports *ports, const char *vm, const json_t *nic)
{
	const char *nic_id = json_string_value(json_object_get(nic, "id"));
	char id[PORT_ID_SIZE];
	struct port *port;

	port_nic_id(vm, nic_id, id);
	port = ports_insert(ports, id, nic);
	if (!port)
		return NULL;
	port->vm = strdup(vm);
	port->nic = strdup(nic_id);
	snprintf(port->socket, sizeof(port->socket), "%s/ports/%s/sock",
		 ports->mgmt->options->run_dir, id);
	if (port->vm && port->nic)
		return port;
	port_unlink(port);
	return NULL;
}

void ports_add_nic(struct ports *ports, const char *vm, const json_t *nic, gid_t gid,
		   done_fn done, void *opaque)
{
	struct port *port = ports_insert_nic(ports, vm, nic);
	struct port_op *op = port ? port_op_create(port, done, opaque) : NULL;

	if (!op) {
		port_op_out_of_memory(done, opaque);
		return;
	}
	supervisor_call(ports->mgmt->supervisor, "port.prepare",
			json_pack("{s:s, s:i}", "id", port->id, "gid", (int)gid),
			LAUNCH_TIMEOUT_MS, port_on_prepared, op);
}

int ports_adopt_nic(struct ports *ports, const char *vm, const json_t *nic, gid_t gid)
{
	struct port *port = ports_insert_nic(ports, vm, nic);

	if (!port)
		return -ENOMEM;
	port->prepared = true;
	return 0;
}

static void port_on_released(void *opaque, int code, const char *message, const json_t *data,
			     const json_t *result)
{
	struct port_op *op = opaque;

	if (code && code != RPC_NOT_FOUND && code != RPC_DISCONNECTED)
		log_warn("the directory of port %s stays: %s", op->port->id, message);
	port_op_finish(op, NULL);
}

static void port_on_removed(void *opaque, int code, const char *message, const json_t *data,
			    const json_t *result)
{
	struct port_op *op = opaque;

	if (code && code != RPC_NOT_FOUND && code != RPC_DISCONNECTED)
		log_warn("the switch did not remove port %s: %s", op->port->id, message);
	if (!op->port->vm) {
		port_op_finish(op, NULL);
		return;
	}
	supervisor_call(op->port->ports->mgmt->supervisor, "port.release",
			json_pack("{s:s}", "id", op->port->id), LAUNCH_TIMEOUT_MS,
			port_on_released, op);
}

void port_remove(struct port *port, done_fn done, void *opaque)
{
	struct mgmt *mgmt = port->ports->mgmt;
	struct port_op *op = &port->removal;

	port_op_begin(op, port, done, opaque);
	port_unlink(port); /* op keeps it in memory, and is the only one */
	events_emit(mgmt->events, "port", json_pack("{s:s, s:s}", "port", port->id, "state",
						    "removed"));
	vswitch_call(mgmt->vswitch, "port.remove", json_pack("{s:s}", "id", port->id),
		     port_on_removed, op);
}

void ports_remove_nic(struct ports *ports, const char *vm, const json_t *nic, done_fn done,
		      void *opaque)
{
	char id[PORT_ID_SIZE];
	struct port *port;

	port_nic_id(vm, json_string_value(json_object_get(nic, "id")), id);
	port = ports_find(ports, id);
	if (port)
		port_remove(port, done, opaque);
	else
		done(opaque, NULL);
}
