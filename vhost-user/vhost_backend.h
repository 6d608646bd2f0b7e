/*
 * The device's end of vhost-user: one port that front ends connect to (server) or that connects to
 * one (client), one peer at a time. It speaks the protocol, maps the peer's memory and gets rings
 * ready; the owner (the switch; a test) moves the data.
 *
 * Threads: every function and every op runs on the loop's thread, and none of them blocks: a peer
 * that is slow, silent or hostile delays nobody else. A ring belongs to the owner's data thread
 * from ring_start until the owner says vhost_backend_ring_stopped; while a stop is outstanding the
 * session reads no further message. That is the hand-over: memory is replaced, and rings change
 * size, place or kick, only when no data thread is on them.
 *
 *	peer                  vhost_backend                  owner           data thread
 *	SET_VRING_... ------> checks, translates
 *	SET_VRING_ENABLE ---> ring_start(i, ring) ---------> gives ring ----> pops, puts
 *	SET_MEM_TABLE ------> ring_stop(i) ----------------> asks ----------> finishes its burst
 *	                      (waits; other peers go on)     ring_stopped <-- lets go
 *	                      replaces the table
 *	                      ring_start(i, ring) ...
 */
#ifndef VHOST_USER_VHOST_BACKEND_H
#define VHOST_USER_VHOST_BACKEND_H

#include <sys/types.h>

#include "core/loop.h"
#include "vhost-user/peer_memory.h"
#include "vhost-user/vhost_msg.h"
#include "vhost-user/vring_device.h"

#define VHOST_BACKEND_MAX_RINGS 128u

struct vhost_backend;

/* A ring ready to be worked on; valid from ring_start to vhost_backend_ring_stopped. */
struct vhost_backend_ring {
	struct vring_device vr;
	/* The peer's kick, or -1: it does not kick, poll. Never read it: watch it edge-triggered
	 * (the peer may have made it blocking). */
	int kick_fd;
	/* Write 8 bytes (value 1) to interrupt the driver. Always valid; nobody's when the driver
	 * gave none. Replaced under the same number while the ring runs. It may block: it is the
	 * peer's. */
	int call_fd;
	uint64_t features; /* negotiated virtio features */
};

struct vhost_backend_ops {
	/* The ring may be worked on from now on. */
	void (*ring_start)(void *opaque, unsigned int index, struct vhost_backend_ring *ring);
	/*
	 * Stop working on the ring: complete (put and publish) what was popped, or unpop it, let go,
	 * then call vhost_backend_ring_stopped, from within this op or later. Asked once a start.
	 */
	void (*ring_stop)(void *opaque, unsigned int index);
	/* The first ring started, or the last one stopped (also before gone). NULL: don't care. */
	void (*link)(void *opaque, bool up);
	/* A peer has connected. NULL: don't care. */
	void (*connected)(void *opaque);
	/* The session is over, its rings were stopped, its memory unmapped. The back end waits for
	 * the next peer by itself (5 s later if this one blocked a data thread, so that doing so
	 * again and again costs others little). NULL: don't care. */
	void (*gone)(void *opaque, enum vhost_fault reason);
	/* NET_SET_MTU. 0, or -EINVAL to refuse it. NULL: feature not offered. */
	int (*set_mtu)(void *opaque, uint16_t mtu);
	/* SEND_RARP: announce this address, the guest has moved here. NULL: not offered. */
	void (*rarp)(void *opaque, const uint8_t mac[6]);
	/* Device configuration space: 0 or -EINVAL. NULL get_config: feature not offered;
	 * NULL set_config: writes are refused. */
	int (*get_config)(void *opaque, uint32_t offset, void *buf, uint32_t len);
	int (*set_config)(void *opaque, uint32_t offset, const void *buf, uint32_t len);
};

enum vhost_backend_role { VHOST_BACKEND_SERVER, VHOST_BACKEND_CLIENT };

struct vhost_backend_config {
	struct loop *loop;
	enum vhost_backend_role role;
	const char *path;  /* of the socket; copied. NULL: `fd` is a connected socket, taken over
			    * on success; when that session ends there is no other */
	mode_t mode;	   /* of the socket when serving: 0660, say */
	int fd;
	/* Device features to offer, e.g. 1 << VIRTIO_NET_F_MRG_RXBUF. The back end adds VERSION_1,
	 * RING_EVENT_IDX, INDIRECT_DESC and VHOST_USER_F_PROTOCOL_FEATURES. */
	uint64_t features;
	unsigned int rings;  /* 2 per queue pair; at most VHOST_BACKEND_MAX_RINGS */
	bool allow_unsealed; /* accept memory that its owner could truncate */
	const struct vhost_backend_ops *ops;
	void *opaque;
};

/*
 * Serving: replaces a stale socket, never a live one (-EADDRINUSE) or another file (-EEXIST).
 * Connecting: tries from 5 ms to 1 s apart until it succeeds; it starts over whenever the peer
 * goes. *be is set before any op is called. 0 or -errno.
 */
must_check int vhost_backend_create(const struct vhost_backend_config *config,
				    struct vhost_backend **be);

/*
 * Ends the session and frees the back end; serving, its socket's name is removed at once. Rings are
 * stopped first, which may take until the owner's acknowledgement: done (may be NULL) runs when
 * nothing is left, from within this call if no ring was running. gone is not called.
 */
void vhost_backend_destroy(struct vhost_backend *be, void (*done)(void *opaque), void *opaque);

/* The owner's answer to ring_stop. A ring that is broken by then ends the session. */
void vhost_backend_ring_stopped(struct vhost_backend *be, unsigned int index);

/* Ends the session for a fault the owner found (a broken ring, say): it comes back as gone. */
void vhost_backend_break(struct vhost_backend *be, enum vhost_fault reason);

bool vhost_backend_connected(const struct vhost_backend *be);
uint64_t vhost_backend_features(const struct vhost_backend *be);	/* negotiated; 0: none yet */
uint64_t vhost_backend_protocol_features(const struct vhost_backend *be); /* negotiated */
/* Sessions that ended by this reason since creation. */
uint64_t vhost_backend_fault_count(const struct vhost_backend *be, enum vhost_fault reason);

#endif
