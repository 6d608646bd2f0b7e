#include "vswitch/forward.h"

#include <stdlib.h>

struct forward_batch {
	struct port *port; /* valid during a burst, even when withdrawn meanwhile */
	unsigned int count;
	struct frame *frames[FRAME_BURST];
};

struct forward {
	struct forward_config config;
	struct forward_learned last; /* not told twice within a second */
	uint32_t last_told;
	unsigned int touched_count;
	uint16_t touched[PORT_MAX]; /* ports that have a batch */
	struct forward_batch batches[PORT_MAX];
	struct burst burst;
};

struct forward *forward_create(const struct forward_config *config)
{
	struct forward *fwd = aligned_alloc(64, ALIGN_UP(sizeof(*fwd), 64));

	if (!fwd)
		return NULL;
	memset(fwd, 0, sizeof(*fwd));
	fwd->config = *config;
	fwd->burst.lcore = config->lcore;
	return fwd;
}

void forward_destroy(struct forward *fwd)
{
	free(fwd);
}

static bool forward_is_multicast(const uint8_t *mac)
{
	return mac[0] & 1;
}

/* 01-80-C2-00-00-00 to -0F. */
static bool forward_is_reserved(const uint8_t *mac)
{
	return get_le32(mac) == 0x00c28001 && mac[4] == 0 && (mac[5] & 0xf0) == 0;
}

static void forward_learn(struct forward *fwd, const struct port *port, uint64_t key)
{
	uint32_t now = atomic_load_explicit(&fwd->config.fdb->now, memory_order_relaxed);
	struct forward_learned learned = {
		.key = key,
		.generation = port->generation,
		.port = port->index,
	};

	if (fwd->last.key == key && fwd->last.generation == port->generation &&
	    fwd->last_told == now)
		return;
	fwd->last = learned;
	fwd->last_told = now;
	fwd->config.learn(fwd->config.opaque, &learned);
}

static void forward_append(struct forward *fwd, struct port *port, struct frame *frame)
{
	struct forward_batch *batch = &fwd->batches[port->index];

	if (batch->count == 0) {
		batch->port = port;
		fwd->touched[fwd->touched_count++] = port->index;
	}
	batch->frames[batch->count++] = frame;
}

static void forward_flood(struct forward *fwd, const struct port *from, struct stats_cell *cell,
			  struct frame *frame)
{
	const struct port_set *set =
		atomic_load_explicit(&fwd->config.ports->set, memory_order_acquire);
	unsigned int sent = 0;

	frame->shared = true;
	for (unsigned int i = 0; i < set->count; i++) {
		if (set->ports[i] == from)
			continue;
		forward_append(fwd, set->ports[i], frame);
		sent++;
	}
	if (sent == 0)
		stats_drop(cell, DROP_NO_DESTINATION, 1);
	else
		stats_add(&cell->copies, sent - 1);
}

/* False: the frame may not pass, and has been counted. */
static bool forward_classify(struct forward *fwd, const struct port *from, struct stats_cell *cell,
			     const struct frame *frame, uint64_t source_hash)
{
	uint64_t key = fdb_key(frame_src(frame));

	if (forward_is_multicast(frame_src(frame))) {
		stats_drop(cell, DROP_BAD_SOURCE, 1);
		return false;
	}
	if (forward_is_reserved(frame_dst(frame))) {
		stats_drop(cell, DROP_RESERVED, 1);
		return false;
	}
	if (!fdb_refresh(fwd->config.fdb, key, source_hash, from->index))
		forward_learn(fwd, from, key);
	return true;
}

static void forward_route(struct forward *fwd, const struct port *from, struct stats_cell *cell,
			  struct frame *frame, uint64_t hash)
{
	struct port *to = NULL;

	if (!forward_is_multicast(frame_dst(frame)))
		to = port_table_get(fwd->config.ports,
				    fdb_lookup(fwd->config.fdb, fdb_key(frame_dst(frame)), hash));
	if (!to)
		forward_flood(fwd, from, cell, frame);
	else if (to == from)
		stats_drop(cell, DROP_SAME_PORT, 1);
	else
		forward_append(fwd, to, frame);
}

static void forward_send(struct forward *fwd)
{
	for (unsigned int i = 0; i < fwd->touched_count; i++) {
		struct forward_batch *batch = &fwd->batches[fwd->touched[i]];

		batch->port->ops->send(batch->port, &fwd->burst, batch->frames, batch->count);
		batch->count = 0;
	}
	fwd->touched_count = 0;
}

unsigned int forward_burst(struct forward *fwd, struct rx_queue *queue)
{
	struct port *from = queue->port;
	struct stats_cell *cell = &from->cells[fwd->config.lcore];
	struct burst *burst = &fwd->burst;
	uint64_t dst[FRAME_BURST], src[FRAME_BURST];
	unsigned int taken;

	burst->count = 0;
	taken = from->ops->receive(queue, burst);
	if (taken == 0)
		return 0;
	for (unsigned int i = 0; i < burst->count; i++) {
		dst[i] = fdb_hash(fwd->config.fdb, fdb_key(frame_dst(&burst->frames[i])));
		src[i] = fdb_hash(fwd->config.fdb, fdb_key(frame_src(&burst->frames[i])));
		fdb_prefetch(fwd->config.fdb, dst[i]);
		fdb_prefetch(fwd->config.fdb, src[i]);
	}
	for (unsigned int i = 0; i < burst->count; i++)
		if (forward_classify(fwd, from, cell, &burst->frames[i], src[i]))
			forward_route(fwd, from, cell, &burst->frames[i], dst[i]);
	forward_send(fwd);
	from->ops->release(queue, burst);
	return taken;
}
