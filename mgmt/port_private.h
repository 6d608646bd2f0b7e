/* Shared by port.c (changes) and port_sync.c (what the switch has, compared with ours). */
#ifndef MGMT_PORT_PRIVATE_H
#define MGMT_PORT_PRIVATE_H

#include "mgmt/mgmt.h"
#include "mgmt/port.h"

enum port_state { PORT_PENDING, PORT_UP, PORT_FAILED };

struct port {
	struct port *next;
	struct ports *ports;
	unsigned int refs; /* the list's, and one for each change under way */
	bool removed;	   /* no longer in the list */
	bool prepared;	   /* its directory is there (a NIC's) */
	bool adding;	   /* the switch was asked and has not answered */
	char id[PORT_ID_SIZE];
	char *vm, *nic; /* NULL: an uplink */
	json_t *spec;	/* of the NIC, or of the uplink */
	char socket[MGMT_PATH_SIZE];
	enum port_state state;
	char reason[160];
};

struct ports {
	struct mgmt *mgmt;
	struct port *first;
	struct loop_timer *retry; /* of ports the switch would not take back */
};

void port_set_state(struct port *port, enum port_state state, const char *reason);
const char *port_state_name(const struct port *port);

/* port.add; done may be NULL. */
void port_ask_switch(struct port *port, done_fn done, void *opaque);

#endif
