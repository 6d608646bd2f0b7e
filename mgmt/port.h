/*
 * The ports the switch is to have: one for each NIC of a VM that runs, and the uplinks. When the
 * switch comes (back), its ports are made the same as ours. Main thread only.
 */
#ifndef MGMT_PORT_H
#define MGMT_PORT_H

#include <sys/types.h>

#include "mgmt/problem.h"

struct mgmt;
struct port;
struct ports;

#define PORT_ID_MAX 32u /* as the switch has it */
#define PORT_ID_SIZE (2 * PORT_ID_MAX + 2)

struct ports *ports_create(struct mgmt *mgmt); /* NULL: out of memory */
void ports_destroy(struct ports *ports);       /* NULL is allowed */

/* The uplinks of the store. 0 or -errno. */
must_check int ports_load(struct ports *ports);

/* The switch came or went. */
void ports_switch_up(void *ports);
void ports_switch_down(void *ports);

/* VM-NIC. Longer than PORT_ID_MAX, it is refused when the NIC is made. */
void port_nic_id(const char *vm, const char *nic, char id[PORT_ID_SIZE]);

/*
 * Prepares the directory of a NIC's port (group gid) and adds the port. done may be called within.
 * A port that could not be added is still there, to be removed by its VM.
 */
void ports_add_nic(struct ports *ports, const char *vm, const json_t *nic, gid_t gid,
		   done_fn done, void *opaque);
/* The port of a VM that was found running: the switch has it, or will get it. 0 or -ENOMEM. */
must_check int ports_adopt_nic(struct ports *ports, const char *vm, const json_t *nic, gid_t gid);
/* Removes it from the switch and gives its directory back. Never fails for the caller. */
void ports_remove_nic(struct ports *ports, const char *vm, const json_t *nic, done_fn done,
		      void *opaque);

/* An uplink, committed first. spec: checked. On failure it is not there. */
void ports_add_uplink(struct ports *ports, const json_t *spec, done_fn done, void *opaque);
void ports_remove_uplink(struct ports *ports, struct port *port, done_fn done, void *opaque);

struct port *ports_find(struct ports *ports, const char *id);
bool port_is_nic(const struct port *port);
bool port_is_declared(const struct port *port); /* by the switch's own --uplink */

/*
 * Schema PortList (without "items": an array), a new reference owned by the callback, as the
 * switch sees them now; called exactly once, perhaps within. NULL: out of memory.
 */
typedef void (*ports_json_fn)(void *opaque, json_t *list);
void ports_json(struct ports *ports, ports_json_fn fn, void *opaque);

#endif
