/*
 * Inside the back end, each on those before it: vhost_backend.c (the state itself),
 * vhost_backend_ring.c (starting and stopping rings), vhost_backend_messages.c (what each message
 * does, and answers), vhost_backend_session.c (the socket's traffic, from a peer's coming to its
 * going) and vhost_backend_socket.c (life cycle, and where peers come from). Between these only.
 */
#ifndef VHOST_USER_VHOST_BACKEND_INTERNAL_H
#define VHOST_USER_VHOST_BACKEND_INTERNAL_H

#include "vhost-user/peer_fds.h"
#include "vhost-user/vhost_backend.h"
#include "vhost-user/vhost_stream.h"

/* ns between attempts to find a peer */
#define BACKEND_RETRY_MIN 5000000ull
#define BACKEND_RETRY_MAX 1000000000ull
/* ns without a peer after one that held up a data thread, and so others: it may cost them little */
#define BACKEND_BLOCKED_WAIT 5000000000ull
/* ns for a message once it has begun, and for the peer to read what it is sent */
#define BACKEND_STALL 3000000000ull

enum ring_state {
	RING_IDLE,     /* ours: may be changed */
	RING_RUNNING,  /* the owner's */
	RING_STOPPING, /* the owner's still: it has been asked to let go */
};

struct backend_ring {
	struct vhost_backend_ring pub; /* the owner's while not idle, but for call_fd's target */
	enum ring_state state;
	uint32_t size; /* 0: not said yet */
	struct vring_addrs addrs; /* user addresses */
	bool addrs_set;
	bool kick_set; /* a kick, or NOFD, came since the last stop by the peer */
	bool enabled;  /* by SET_VRING_ENABLE */
	uint16_t base;
};

enum session_state {
	SESSION_NONE,
	SESSION_OPEN,
	SESSION_ENDING, /* waiting for rings; socket closed to us */
};

struct vhost_backend {
	struct loop *loop;
	enum vhost_backend_role role;
	char *path;
	uint64_t offered;	   /* virtio features */
	uint64_t offered_protocol; /* protocol features */
	const struct vhost_backend_ops *ops;
	void *opaque;

	int listen_fd; /* -1: none */
	struct loop_io *listen_io;
	struct loop_timer *retry; /* when to seek a peer, or to listen again */
	uint64_t retry_delay;	  /* ns */
	int null_fd;		  /* an eventfd nobody reads: the call of a driver that gave none */

	enum session_state session;
	int fd;
	struct loop_io *io;
	struct vhost_stream stream;
	struct vhost_outbox outbox;
	struct peer_fds fds; /* of the peer's that may take time to close */
	struct loop_timer *stall; /* runs while a message is incomplete or an answer unread */
	bool stalling;
	struct peer_memory memory;
	struct loop_io *memory_io; /* memory.fault_fd */
	uint64_t features;
	uint64_t protocol;
	bool features_set;
	uint8_t status;
	bool waiting;		  /* `pending` waits for rings to stop */
	struct vhost_msg pending;
	enum vhost_fault reason; /* of an ending session */
	bool link;

	struct backend_ring *rings;
	unsigned int ring_count;
	unsigned int busy; /* rings that are not idle */

	unsigned int depth; /* entries from outside that have not returned yet */
	bool destroying;
	bool dead; /* free it when depth is 0 */
	void (*done)(void *opaque);
	void *done_opaque;
	uint64_t faults[VHOST_FAULT_COUNT];
};

/* The state. */

/* What there is before a socket. 0 or -errno, *out is NULL then. */
must_check int backend_new(const struct vhost_backend_config *config, struct vhost_backend **out);
/* Frees what was made, however far it got. */
void backend_free(struct vhost_backend *be);
const char *backend_name(const struct vhost_backend *be); /* for log lines */

/* Rings. */

/* Asks running rings to stop: one, or all with index == ring_count. True: all of these are idle. */
bool backend_rings_quiesce(struct vhost_backend *be, unsigned int index);
/* Starts what is ready, and tells of the link. A fault ends the session: the caller does that. */
must_check enum vhost_fault backend_rings_update(struct vhost_backend *be);
/* Forgets what the peer said of an idle ring; call_fd included if `all`. */
void backend_ring_reset(struct backend_ring *ring, bool all);
/* Gives an idle ring its kick (-1: it polls). */
void backend_ring_set_kick(struct backend_ring *ring, int fd);
/* Gives a ring, running or not, its call (-1: none). 0 or -errno; fd is taken over. */
must_check int backend_ring_set_call(struct vhost_backend *be, struct backend_ring *ring, int fd);

/* Messages. */

/* Whether all rings the message touches are idle; asks them to stop if not. */
bool backend_message_quiesce(struct vhost_backend *be, const struct vhost_msg *msg);
/* Does what the message says and answers it; its descriptors stay the caller's to close. */
enum vhost_fault backend_message_handle(struct vhost_backend *be, struct vhost_msg *msg);
/* Sends an answer, or queues it. */
enum vhost_fault backend_reply(struct vhost_backend *be, const struct vhost_msg *msg);
/* Sends what is queued, as far as the peer reads. */
enum vhost_fault backend_flush(struct vhost_backend *be);

/* The session. */

/*
 * Every way in from the loop or the owner is bracketed by these, so that an op may call back
 * (break, ring_stopped, destroy) without the ground going from under its caller: what has become
 * possible meanwhile is done by the outermost leave.
 */
void backend_enter(struct vhost_backend *be);
void backend_leave(struct vhost_backend *be);

/* A peer is on fd. 0 or -errno, then fd stays the caller's. */
must_check int backend_session_open(struct vhost_backend *be, int fd);
/* The peer's descriptors are closed: the next peer may come. */
void backend_fds_closed(void *opaque);
/* The stall timer's end. */
void backend_session_stalled(void *opaque);
/* Starts the end of the session, if it has not started yet. */
void backend_session_end(struct vhost_backend *be, enum vhost_fault reason);
/* The next peer may come, or is sought. */
void backend_await_peer(struct vhost_backend *be);

static inline bool backend_protocol(const struct vhost_backend *be, enum vhost_proto bit)
{
	return be->protocol >> bit & 1;
}

static inline bool backend_speaks_protocol(const struct vhost_backend *be)
{
	return be->features >> VHOST_F_PROTOCOL_FEATURES & 1;
}

#endif
