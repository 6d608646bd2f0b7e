/*
 * A vhost-user back end on a listening socket that does as the test says: answers properly, or
 * refuses, falls silent, answers nonsense or hangs up at a certain request. It works in the
 * test's own process, on the rig's loop.
 */
#ifndef TESTS_SCRIPTED_PEER_H
#define TESTS_SCRIPTED_PEER_H

#include "tests/unit/vhost-user/virtio_rig.h"
#include "vhost-user/vhost_stream.h"
#include "vhost-user/vring_device.h"

#define PEER_RINGS 8u
#define PEER_REQUESTS 64u
#define PEER_SLOTS 8u

enum peer_deed {
	PEER_OBEYS,
	PEER_REFUSES, /* answers 1 where 0 means success */
	PEER_IS_SILENT,
	PEER_HANGS_UP,
	PEER_MISTAKES,	/* answers another request */
	PEER_BABBLES,	/* answers with too many bytes */
	PEER_REPEATS,	/* answers twice */
	PEER_LIES,	/* answers u64 all ones, vring state of another ring */
	PEER_RAVES,	/* at every request, by `raving`: right, or anything at all */
};

struct peer_ring {
	uint32_t num, base, enabled;
	struct vhost_msg_vring_addr addr;
	int kick_fd, call_fd; /* -1: none given */
};

struct scripted_peer {
	struct virtio_rig *rig;
	char path[64]; /* "" when the front end listens */
	int listen_fd;
	int fd;
	struct loop_io *listen_io, *io;
	struct vhost_stream stream;
	struct vhost_outbox outbox;
	/* What it offers. */
	uint64_t features, protocol, queue_num, max_slots;
	uint8_t config[12];
	/* What it does, at which request (enum vhost_request). */
	enum peer_deed deed;
	uint32_t at;
	uint64_t raving;
	/* What it has seen in this session. */
	uint64_t acked, acked_protocol, status;
	struct vhost_msg_region regions[PEER_SLOTS];
	unsigned int region_count;
	struct peer_ring rings[PEER_RINGS];
	/* Ever. */
	unsigned int sessions;
	unsigned int seen[PEER_REQUESTS];
};

/* Binds a socket of its own; it answers from then on. */
void scripted_peer_init(struct scripted_peer *peer, struct virtio_rig *rig);
void scripted_peer_fini(struct scripted_peer *peer);

void scripted_peer_hang_up(struct scripted_peer *peer);
/* Stops and resumes listening: the socket's name goes, as when a switch is not there. */
void scripted_peer_leave(struct scripted_peer *peer);
void scripted_peer_return(struct scripted_peer *peer);
/* Connects to a front end that listens there. */
void scripted_peer_connect(struct scripted_peer *peer, const char *path);

/* Guest physical address of what the front end calls `user`; UINT64_MAX: not in its table. */
gpa_t scripted_peer_gpa(const struct scripted_peer *peer, uint64_t user);
/* Starts to serve a ring. */
void scripted_peer_serve(struct scripted_peer *peer, unsigned int index, struct vring_device *vr);

#endif
