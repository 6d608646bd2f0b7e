/*
 * Inside the front end, each on those before it: vhost_frontend.c is what the device asks for and
 * is told, vhost_frontend_script.c knows what to say in which order and what to make of the
 * answers, vhost_frontend_session.c holds that conversation and its deadlines,
 * vhost_frontend_connect.c makes the front end and finds it a peer. Between these files only. io
 * thread.
 */
#ifndef VHOST_USER_VHOST_FRONTEND_IMPL_H
#define VHOST_USER_VHOST_FRONTEND_IMPL_H

#include "vhost-user/vhost_frontend.h"
#include "vhost-user/vhost_stream.h"

#define FRONTEND_NS_PER_MS 1000000ULL

enum frontend_phase {
	FRONTEND_OFFLINE,
	FRONTEND_NEGOTIATING,
	FRONTEND_IDLE, /* negotiated; nothing to run, or the peer does not fit */
	FRONTEND_STARTING, /* from here on the peer may have rings */
	FRONTEND_RUNNING,
	FRONTEND_STOPPING,
};

struct frontend_ring {
	struct vhost_frontend_ring is;
	bool given;	    /* the peer has been told of it, in this connection */
	bool recover;	    /* the base is to be taken from the used index */
	bool call_dirty;    /* to be told anew */
	bool enabled_dirty;
};

struct frontend_slot {
	bool present;
	bool told;     /* the peer has it */
	bool leaving;  /* to be taken from the peer */
	uint64_t gpa, size, fd_offset;
	int fd; /* the guest memory's */
};

struct vhost_frontend {
	const char *name;
	struct loop *loop;
	struct guest_memory *memory;
	struct mem_listener listener;
	char path[108]; /* sun_path; "" when listening */
	int listen_fd;
	unsigned int config_size;
	unsigned int timeout_ms;
	const struct vhost_frontend_ops *ops;
	void *opaque;

	int fd; /* the connection; -1 */
	struct loop_io *io;
	struct loop_io *listen_io;
	struct loop_timer *poke;  /* at once: go on, call ops */
	struct loop_timer *timer; /* offline: the next attempt; else: the answer is overdue */
	unsigned int backoff_ms;
	unsigned int backoff_max_ms;
	uint64_t running_since; /* ns; 0: not in this session */
	struct vhost_stream stream;
	struct vhost_outbox outbox;

	enum frontend_phase phase;
	unsigned int step;
	uint32_t awaited; /* request whose answer is due; 0: none */
	bool tell_changed;
	bool tell_stopped;

	bool wanted; /* rings are to run */
	bool misfit; /* this peer does not do for what is wanted */
	uint64_t features;
	struct frontend_ring rings[VHOST_FRONTEND_MAX_RINGS];
	unsigned int ring_count;
	struct frontend_slot slots[GUEST_MEMORY_MAX_SLOTS];
	bool memory_dirty;

	uint64_t peer_features;
	uint64_t protocol; /* negotiated */
	uint64_t peer_rings;
	uint64_t peer_slots;
	uint8_t peer_config[VHOST_FRONTEND_CONFIG_MAX];
	unsigned int peer_config_size;

	char reason[160];
	struct vhost_frontend_counters counters;
};

/* What is asked for and told. */

uint64_t frontend_now_ns(void); /* CLOCK_MONOTONIC */
void frontend_arm(struct vhost_frontend *fe, struct loop_timer *timer, uint64_t delay_ms);
void frontend_poke(struct vhost_frontend *fe); /* go on, and call ops, from the loop */
__attribute__((format(printf, 2, 3))) void frontend_set_reason(struct vhost_frontend *fe,
								const char *fmt, ...);

/* The peer may have rings. */
bool frontend_rings_out(const struct vhost_frontend *fe);
/* The ring's next available entry, from memory if the last peer could not say. */
uint16_t frontend_ring_base(struct vhost_frontend *fe, struct frontend_ring *ring);

/* The script. */

/* A new connection: forgets what the last peer was told. */
void frontend_script_reset(struct vhost_frontend *fe);

/*
 * The next message of the present phase, its descriptors borrowed. False: the phase has nothing
 * more to say. Call it only when no answer is due.
 */
bool frontend_script_next(struct vhost_frontend *fe, struct vhost_msg *msg);

/* Takes the answer to the request under way. */
enum vhost_fault frontend_script_answer(struct vhost_frontend *fe, const struct vhost_msg *reply);

/* Whether this peer can serve what is wanted; if not, fe->reason says what it lacks. */
bool frontend_script_fits(struct vhost_frontend *fe);

/* The session. */

/* A peer is on fd (taken over): the conversation begins. */
void frontend_attach(struct vhost_frontend *fe, int fd);
/* Says what there is to say as far as the peer's answers allow. */
void frontend_go_on(struct vhost_frontend *fe);
/* Calls the ops; last thing in every callback of the loop. */
void frontend_tell(struct vhost_frontend *fe);

/* The connection ends, for fe->reason; the next is sought. */
void frontend_drop(struct vhost_frontend *fe);
void frontend_drop_timeout(struct vhost_frontend *fe, unsigned int waited_ms);
void frontend_retry_later(struct vhost_frontend *fe); /* seeks a peer, when its turn comes */

static inline bool frontend_has(const struct vhost_frontend *fe, enum vhost_proto feature)
{
	return fe->protocol >> feature & 1;
}

#endif
