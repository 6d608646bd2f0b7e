/*
 * A port as the road sees it, and the table of all of them.
 *
 * Ports are created, published, withdrawn and destroyed by the main thread. A lcore may use what
 * it reads from the table until the end of its burst; the main thread waits for that
 * (lcores_sync) between withdrawing and destroying. Needs no EAL.
 */
#ifndef VSWITCH_PORT_H
#define VSWITCH_PORT_H

#include <jansson.h>

#include "vhost-user/vring_device.h"
#include "vswitch/frame.h"
#include "vswitch/offload.h"
#include "vswitch/stats.h"

#define PORT_MAX 256u
#define PORT_ID_MAX 32u /* characters */
#define PORT_MTU_MIN 68u
#define PORT_MTU_MAX 9216u
#define PORT_MTU_DEFAULT 1500u

struct port;
struct rx_queue;

#define BURST_PIECES 2048u /* pieces of guest memory that a burst may consist of */
#define BURST_TX_CHAINS 256u /* a frame in mergeable buffers may take as many */

/* What one lcore needs for a burst; its own, reused from burst to burst. */
struct burst {
	unsigned int lcore;
	unsigned int count;
	struct frame frames[FRAME_BURST];
	/* The source's buffers, until release. */
	unsigned int taken;
	void *mbufs[FRAME_BURST];
	struct vring_chain rx_chains[FRAME_BURST];
	struct iovec rx_iov[BURST_PIECES];
	uint64_t rx_addr[BURST_PIECES];
	/* The destination's, during a send. */
	struct vring_chain tx_chains[BURST_TX_CHAINS];
	struct iovec tx_iov[BURST_PIECES];
	uint64_t tx_addr[BURST_PIECES];
	struct offload_scratch scratch;
};

struct port_ops {
	const char *type; /* "vhost-user", "ethdev" */
	/*
	 * lcore, the queue's own. Takes up to FRAME_BURST frames, counts them as received, drops
	 * by name what is not a frame, and leaves the others in burst. Returns how many buffers it
	 * took from the queue: 0 means the queue was empty.
	 */
	unsigned int (*receive)(struct rx_queue *queue, struct burst *burst);
	/* lcore: the frames have been sent where they go; buffers return to the source. */
	void (*release)(struct rx_queue *queue, struct burst *burst);
	/*
	 * Any lcore. Sends `count` (at most FRAME_BURST) frames in order and accounts for each of
	 * them. burst: the lcore's scratch. Never waits for the peer.
	 */
	void (*send)(struct port *port, struct burst *burst, struct frame *const *frames,
		     unsigned int count);
	/* lcore, the queue's own, for queues with a kick. Going to sleep: asks for the kick; false:
	 * there is work. Back from sleep: wants none. */
	bool (*arm)(struct rx_queue *queue);
	void (*disarm)(struct rx_queue *queue);
	/* Main thread, every SWITCH_TICK_MS: acts on what lcores found. NULL: nothing to do. */
	void (*tick)(struct port *port);
	/* Main thread. Adds what is particular to the type to port.list's object. */
	void (*describe)(struct port *port, json_t *object);
	/* Main thread: the link as it is now. */
	bool (*link)(struct port *port);
	/* Main thread. Takes the port off the road at once, stops it and frees it, perhaps later. */
	void (*destroy)(struct port *port);
};

struct port {
	const struct port_ops *ops;
	char id[PORT_ID_MAX + 1];
	uint16_t index;	     /* in the table; FDB's port */
	uint32_t generation; /* tells apart the ports that had the same index */
	uint32_t mtu;	     /* bytes */
	uint32_t max_frame;  /* bytes: mtu and FRAME_OVERHEAD */
	unsigned int cells_count;
	struct stats_cell *cells; /* one a lcore */
	bool declared; /* on the command line: stays as long as the switch */
	struct port_table *table;
};

/* A queue that one lcore polls. */
struct rx_queue {
	struct port *port;
	unsigned int index; /* among the port's */
	unsigned int lcore; /* who polls it */
	/* Becomes readable when there is work; -1: none, the queue is looked at now and then. */
	int kick_fd;
	/* It stays readable as long as there is work. Otherwise it is watched for edges and never
	 * read: it may be the peer's. */
	bool kick_level;
};

/* The ports to flood to. */
struct port_set {
	unsigned int count;
	struct port *ports[PORT_MAX];
};

struct port_table {
	struct port *_Atomic ports[PORT_MAX];
	struct port_set *_Atomic set;
	/* Main thread's: the set in use and the one to be filled next. */
	struct port_set sets[2];
	unsigned int active;
	uint32_t generations;
	struct stats retired; /* what the ports that are gone had counted */
};

void port_table_init(struct port_table *table);

/* Main thread. Fills the common part and allocates the counters for `lcores` lcores. 0 or -ENOMEM. */
must_check int port_init(struct port *port, struct port_table *table, const struct port_ops *ops,
			 const char *id, uint32_t mtu, unsigned int lcores);
/* Its counters join table->retired. */
void port_fini(struct port *port);

/*
 * Main thread; lcores_sync must follow each, before the next one and before the port is destroyed.
 * add gives the port its index: frames may come to it from now. 0 or -ENOSPC.
 */
must_check int port_table_add(struct port_table *table, struct port *port);
void port_table_remove(struct port_table *table, struct port *port);

struct port *port_table_find(struct port_table *table, const char *id); /* main thread */

static inline struct port *port_table_get(struct port_table *table, uint16_t index)
{
	return index < PORT_MAX ? atomic_load_explicit(&table->ports[index], memory_order_acquire)
				: NULL;
}

/* Sum over the lcores. Main thread. */
void port_stats(const struct port *port, struct stats *stats);

#endif
