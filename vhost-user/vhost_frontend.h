/*
 * The driver's end of vhost-user: shows the guest's memory and rings to a back end (the switch)
 * and keeps them shown: when the peer goes away it is sought again for ever, from 5 ms to 1 s
 * apart, and the very same start sequence follows, with each ring's position taken from its used
 * index in memory.
 *
 *	vhost_frontend_start      remembered; runs when a fitting peer is there
 *	  connect  GET_FEATURES ... SET_OWNER              negotiation, once a connection
 *	  start    SET_FEATURES, memory, rings, ENABLE     until ops->changed tells of running
 *	vhost_frontend_stop       GET_VRING_BASE of each ring, then ops->stopped
 *
 * io thread only, and never blocks: one request waits for its answer at a time, for at most
 * timeout_ms; then the peer is dropped, with the reason. A peer that is gone counts
 * as stopped. The peer is not trusted: the codec checks each answer, and nothing it says can
 * lead to more than the end of its session.
 *
 * No function calls an op before it returns: ops are called from the loop.
 */
#ifndef VHOST_USER_VHOST_FRONTEND_H
#define VHOST_USER_VHOST_FRONTEND_H

#include "core/guest_memory.h"
#include "core/loop.h"

#define VHOST_FRONTEND_MAX_RINGS 64u
#define VHOST_FRONTEND_TIMEOUT_MS 5000u
#define VHOST_FRONTEND_BACKOFF_MIN_MS 5u
#define VHOST_FRONTEND_BACKOFF_MAX_MS 1000u
#define VHOST_FRONTEND_CONFIG_MAX 64u /* bytes of the device's configuration that are read */

struct vhost_frontend;

struct vhost_frontend_ops {
	/* Whether there is a peer, whether the rings run, or why they do not, has changed. */
	void (*changed)(void *opaque);
	/* The answer to a vhost_frontend_stop that returned false. */
	void (*stopped)(void *opaque);
};

struct vhost_frontend_config {
	const char *name; /* for log lines; static or outliving the front end */
	struct loop *loop;
	struct guest_memory *memory; /* outlives the front end */
	const char *path;	     /* connect there (copied); or NULL and: */
	int listen_fd;		     /* accept one peer at a time; taken over */
	unsigned int config_size;    /* of the peer's device configuration to read; 0: none */
	unsigned int timeout_ms;     /* 0: VHOST_FRONTEND_TIMEOUT_MS */
	unsigned int backoff_max_ms; /* 0: VHOST_FRONTEND_BACKOFF_MAX_MS */
	const struct vhost_frontend_ops *ops;
	void *opaque;
};

/* One ring as the driver configured it; addresses are guest physical. */
struct vhost_frontend_ring {
	unsigned int index; /* in the device */
	uint16_t size;
	uint16_t base; /* next available entry; brought up to date when the ring stops */
	uint64_t desc, avail, used;
	int kick_fd; /* both eventfds are borrowed until the rings have stopped */
	int call_fd; /* -1: the driver wants no interrupt */
	bool enabled; /* the peer may serve it now */
};

/* 0 or -errno. On failure listen_fd is still the caller's. */
must_check int vhost_frontend_create(const struct vhost_frontend_config *config,
				     struct vhost_frontend **fe);
/* Leaves at once; rings that run are the peer's until it sees the hang-up. NULL is allowed. */
void vhost_frontend_destroy(struct vhost_frontend *fe);

/*
 * Asks for these rings (copied) to run, now and after every reconnection, with these virtio
 * features (those the peer has to know of). Not while a stop is under way.
 */
must_check int vhost_frontend_start(struct vhost_frontend *fe, uint64_t features,
				    const struct vhost_frontend_ring *rings, unsigned int count);

/* True: no ring runs any more. False: ops->stopped will say so. */
must_check bool vhost_frontend_stop(struct vhost_frontend *fe);

/* Completes a stop under way: waits for the peer's answers, at most that long in all, else drops
 * it. Blocks; for when the vCPUs are paused. ops->stopped is not called. */
void vhost_frontend_wait_stopped(struct vhost_frontend *fe, unsigned int timeout_ms);

/* While started; -1 as above. */
void vhost_frontend_set_call(struct vhost_frontend *fe, unsigned int index, int call_fd);
void vhost_frontend_set_enabled(struct vhost_frontend *fe, unsigned int index, bool enabled);

/* Where the next available entry was when the rings stopped. */
uint16_t vhost_frontend_base(struct vhost_frontend *fe, unsigned int index);

bool vhost_frontend_connected(const struct vhost_frontend *fe); /* and negotiated */
bool vhost_frontend_running(const struct vhost_frontend *fe);
/* Why the rings do not run: "" when they do. */
const char *vhost_frontend_reason(const struct vhost_frontend *fe);
/* What the peer last connected offers; 0 before the first one. */
uint64_t vhost_frontend_peer_features(const struct vhost_frontend *fe);
/* Bytes of its device configuration into buf; returns how many there are. */
unsigned int vhost_frontend_peer_config(const struct vhost_frontend *fe, void *buf,
					unsigned int size);

struct vhost_frontend_counters {
	uint64_t connections;
	uint64_t losses;   /* connections that ended, for whatever reason */
	uint64_t timeouts; /* of them: no answer in time */
	uint64_t faults;   /* of them: the peer broke the protocol, or refused a request */
	uint64_t misfits;  /* peers whose features or limits do not suffice for the driver */
};
const struct vhost_frontend_counters *vhost_frontend_counters(const struct vhost_frontend *fe);

#endif
