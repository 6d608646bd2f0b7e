#include <errno.h>
#include <stdlib.h>

#include "core/json_text.h"
#include "core/log.h"
#include "mgmt/port_private.h"
#include "mgmt/store.h"
#include "mgmt/vm.h"
#include "mgmt/vswitch.h"

/* An uplink that the switch refused was never there. */
static void uplink_on_added(void *opaque, const struct problem *problem)
{
	struct port_op *op = opaque;

	if (problem && !op->port->removed) {
		if (store_port_remove(op->port->ports->mgmt->store, op->port->id) < 0)
			log_warn("port %s stays in the store", op->port->id);
		port_unlink(op->port);
	}
	port_op_finish(op, problem);
}

static int uplink_admit(struct ports *ports, const json_t *spec, struct problem *problem)
{
	const char *id = json_string_value(json_object_get(spec, "id"));

	if (!vswitch_is_up(ports->mgmt->vswitch)) {
		problem_set(problem, 503, NULL, "the switch is not running");
		return -ENOTCONN;
	}
	if (ports_find(ports, id) || vms_use_port(ports->mgmt->vms, id)) {
		problem_set(problem, 409, "id", "there is a port \"%s\" already", id);
		return -EEXIST;
	}
	if (store_port_add(ports->mgmt->store, id, spec) < 0) {
		store_problem(ports->mgmt->store, problem);
		return -EIO;
	}
	return 0;
}

void ports_add_uplink(struct ports *ports, const json_t *spec, done_fn done, void *opaque)
{
	const char *id = json_string_value(json_object_get(spec, "id"));
	struct problem problem;
	struct port_op *op;
	struct port *port;

	if (uplink_admit(ports, spec, &problem) < 0) {
		done(opaque, &problem);
		return;
	}
	port = ports_insert(ports, id, spec);
	op = port ? port_op_create(port, done, opaque) : NULL;
	if (op) {
		port_ask_switch(port, uplink_on_added, op);
		return;
	}
	if (store_port_remove(ports->mgmt->store, id) < 0)
		log_warn("port %s stays in the store", id);
	if (port)
		port_unlink(port);
	port_op_out_of_memory(done, opaque);
}

void ports_remove_uplink(struct ports *ports, struct port *port, done_fn done, void *opaque)
{
	struct problem problem;

	if (store_port_remove(ports->mgmt->store, port->id) < 0) {
		store_problem(ports->mgmt->store, &problem);
		done(opaque, &problem);
		return;
	}
	port_remove(port, done, opaque);
}

static int ports_load_one(void *opaque, const char *id, const char *text)
{
	json_error_t error;
	json_t *spec;
	int err = json_text_load(text, strlen(text), 0, &spec, &error);

	if (err) {
		log_err("the store's port %s cannot be read: %s", id, error.text);
		return err;
	}
	err = ports_insert(opaque, id, spec) ? 0 : -ENOMEM;
	json_decref(spec);
	return err;
}

int ports_load(struct ports *ports)
{
	return store_port_each(ports->mgmt->store, ports_load_one, ports);
}

struct ports *ports_create(struct mgmt *mgmt)
{
	struct ports *ports = calloc(1, sizeof(*ports));

	if (!ports)
		return NULL;
	ports->mgmt = mgmt;
	ports->retry = loop_timer_create(mgmt->loop, ports_switch_up, ports);
	if (!ports->retry) {
		free(ports);
		return NULL;
	}
	return ports;
}

void ports_destroy(struct ports *ports)
{
	if (!ports)
		return;
	while (ports->first)
		port_unlink(ports->first);
	loop_timer_destroy(ports->retry);
	free(ports);
}
