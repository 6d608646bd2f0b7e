/*
 * Counters of one port. Each lcore has a cell of its own for every port, so no counter has two
 * writers; the main thread reads them at any time and adds them up.
 *
 * Law, true for each lcore at each burst boundary, summed over all ports (removed ones included):
 * rx_frames + copies = tx_frames + the sum of all drops + queued. This switch holds no frame
 * between bursts, so queued is 0.
 *
 * Views: rx is from the port's peer into the switch, tx from the switch to the peer. Bytes count
 * the Ethernet frame without FCS and without the virtio header. Pure; needs no EAL.
 */
#ifndef VSWITCH_STATS_H
#define VSWITCH_STATS_H

#include <stdatomic.h>

#include "core/bits.h"

enum drop_reason {
	/* On the way in; charged to the port the frame came from. */
	DROP_BAD_FRAME,	     /* shorter than an Ethernet header, or a broken descriptor chain */
	DROP_BAD_OFFLOAD,    /* the virtio header asks for what was not negotiated or makes no sense */
	DROP_TOO_LONG,	     /* longer than the port's MTU allows */
	DROP_BAD_SOURCE,     /* the source address is a multicast address */
	DROP_RESERVED,	     /* 01-80-C2-00-00-0x, which a bridge never relays (802.1Q 8.6.3) */
	DROP_SAME_PORT,	     /* its destination lives where it came from */
	DROP_NO_DESTINATION, /* to be flooded, but there is no other port */
	/* On the way out; charged to the port the frame was meant for. */
	DROP_DOWN,	     /* no peer, or its receive ring is not running */
	DROP_FULL,	     /* the peer has no buffer free */
	DROP_OVERSIZE,	     /* longer than the port's MTU or all the buffers the peer offers */
	DROP_FAULT,	     /* the peer's ring or buffers are not memory we may write */
	DROP_NO_MEMORY,	     /* no packet buffer free in the switch */
	DROP_UNSEGMENTABLE,  /* a segment to be cut for this port is not the TCP it claims to be */
	DROP_REASONS
};

struct stats_cell {
	_Atomic uint64_t rx_frames;
	_Atomic uint64_t rx_bytes;
	_Atomic uint64_t tx_frames;
	_Atomic uint64_t tx_bytes;
	/* Frames that came into being here: a flood to n ports makes n - 1, charged to the source;
	 * a segment cut in n makes n - 1, charged to the destination. */
	_Atomic uint64_t copies;
	_Atomic uint64_t drops[DROP_REASONS];
} __attribute__((aligned(128))); /* two lines: the neighbour-line prefetcher pairs them */

/* The sum of cells, for the main thread. */
struct stats {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes, copies, queued;
	uint64_t drops[DROP_REASONS];
};

/* The owning lcore only: no locked instruction is needed. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter,
			      atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void stats_drop(struct stats_cell *cell, enum drop_reason reason, uint64_t n)
{
	stats_add(&cell->drops[reason], n);
}

/* As it is called in port.list and in the metrics; static. */
const char *stats_drop_name(enum drop_reason reason);

/* Adds a cell to a sum. Any thread. */
void stats_collect(struct stats *sum, const struct stats_cell *cell);
void stats_merge(struct stats *sum, const struct stats *more);

uint64_t stats_drop_total(const struct stats *sum);

/* rx + copies - tx - drops - queued: 0 when no frame was lost from the books. */
int64_t stats_imbalance(const struct stats *sum);

#endif
