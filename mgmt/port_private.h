/*
 * Shared by port.c (one port's changes, a NIC's port), port_sync.c (what the switch has, compared
 * with ours) and ports.c (all of them, and the uplinks), each of which uses those before it.
 */
#ifndef MGMT_PORT_PRIVATE_H
#define MGMT_PORT_PRIVATE_H

#include "mgmt/mgmt.h"
#include "mgmt/port.h"

enum port_state { PORT_PENDING, PORT_UP, PORT_FAILED };

struct port;

/* One change of a port under way; holds the port. */
struct port_op {
	struct port *port;
	done_fn done; /* may be NULL */
	void *opaque;
	bool again; /* the switch had one of that name, which had to go first */
};

struct port {
	struct port *next;
	struct ports *ports;
	unsigned int refs; /* the list's, and one for each change under way */
	bool removed;	   /* no longer in the list */
	bool prepared;	   /* its directory is there (a NIC's) */
	bool adding;	   /* the switch was asked and has not answered */
	bool declared;	   /* on the switch's command line: comes and goes with it, not in the store */
	char id[PORT_ID_SIZE];
	char *vm, *nic; /* NULL: an uplink */
	json_t *spec;	/* of the NIC, or of the uplink */
	char socket[MGMT_PATH_SIZE];
	enum port_state state;
	char reason[160];
	struct port_op removal; /* its end needs no memory that may be missing */
};

struct ports {
	struct mgmt *mgmt;
	struct port *first;
	struct loop_timer *retry; /* of ports the switch would not take back */
};

void port_set_state(struct port *port, enum port_state state, const char *reason);
const char *port_state_name(const struct port *port);

/* At the end of the list, which holds it; spec is copied. NULL: out of memory. */
struct port *ports_insert(struct ports *ports, const char *id, const json_t *spec);
/* Out of the list; it is freed when no change holds it. Harmless when it is out already. */
void port_unlink(struct port *port);

/* NULL: out of memory. */
struct port_op *port_op_create(struct port *port, done_fn done, void *opaque);
/* Tells done, and frees op. */
void port_op_finish(struct port_op *op, const struct problem *problem);
/* There is no op: done is told so. */
void port_op_out_of_memory(done_fn done, void *opaque);

/* port.add; done may be NULL. */
void port_ask_switch(struct port *port, done_fn done, void *opaque);
/* Out of the list, the switch and, a NIC's, its directory; done is told when it is over. */
void port_remove(struct port *port, done_fn done, void *opaque);

#endif
