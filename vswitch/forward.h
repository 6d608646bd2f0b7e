/*
 * The road: a burst of frames of one port is looked up as a batch, sorted by destination with
 * their order kept, and sent, a batch a destination. Lcore thread. Needs no EAL.
 *
 * Frames are sent to where their destination address was last seen, else to all other ports.
 * Per-port policy will hook in where a frame's source has been checked (forward_classify).
 */
#ifndef VSWITCH_FORWARD_H
#define VSWITCH_FORWARD_H

#include "vswitch/fdb.h"
#include "vswitch/port.h"

struct forward;

/* An address seen at a port that the table does not have there; may be lost. */
struct forward_learned {
	uint64_t key;	     /* fdb_key */
	uint32_t generation; /* the port's, so that a later port of that index is not meant */
	uint16_t port;
	uint16_t reserved;
};

struct forward_config {
	struct port_table *ports;
	struct fdb *fdb;
	unsigned int lcore; /* the cell of the ports' counters */
	/* On the lcore: passes the news on to the main thread. */
	void (*learn)(void *opaque, const struct forward_learned *learned);
	void *opaque;
};

/* For one lcore. NULL: out of memory. */
struct forward *forward_create(const struct forward_config *config);
void forward_destroy(struct forward *fwd); /* NULL is allowed */

/* Takes one burst from the queue and sends it on. Returns the buffers taken; 0: it was empty. */
unsigned int forward_burst(struct forward *fwd, struct rx_queue *queue);

#endif
