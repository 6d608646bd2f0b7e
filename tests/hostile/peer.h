/*
 * The hostile peer: a front end that does, message by message, what a seed says. vhost_peer.c
 * walks sessions from state to state and keeps the table of what was tried where, peer_session.c
 * brings a session into a state, peer_messages.c makes messages, peer_attacks.c works on rings, memory
 * and eventfds. One thread.
 */
#ifndef TESTS_HOSTILE_PEER_H
#define TESTS_HOSTILE_PEER_H

#include "tests/hostile/wire.h"
#include "vhost-user/vring.h"

/* ---- chance ---- */

struct chance {
	uint64_t state;
};

static inline uint64_t chance_u64(struct chance *c)
{
	uint64_t z = (c->state += 0x9e3779b97f4a7c15ull); /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline uint32_t chance_below(struct chance *c, uint32_t n)
{
	return (uint32_t)(chance_u64(c) >> 32) % n;
}

#define chance_of(c, array) ((array)[chance_below(c, ARRAY_SIZE(array))])

/* ---- a session ---- */

#define PEER_RINGS 2u
#define PEER_RING_SIZE 256u
#define PEER_MEMORY 0x100000u
#define PEER_RING_BYTES 0x4000u /* ring i is at i * PEER_RING_BYTES of the memory */
#define PEER_BUFFERS 0x10000u	/* all behind is buffers */
#define PEER_GPA 0x40000000ull
#define PEER_USER 0x7f0000000000ull

/* As far as a session has come; what the table's columns are. */
enum state {
	STATE_NOTHING,	/* connected */
	STATE_FEATURES, /* features negotiated */
	STATE_MEMORY,	/* memory shown */
	STATE_STOPPED,	/* rings described, not enabled */
	STATE_RUNNING,
	STATE_BROKEN,  /* running rings or their memory just ruined */
	STATE_PARTIAL, /* within a message: the rest comes later, or never */
	STATE_AFTER,   /* wherever the messages before have led */
	STATES
};

struct session {
	struct chance chance;
	int fd;
	bool sealed;
	int memfd;
	uint8_t *memory;
	int kick[PEER_RINGS], call[PEER_RINGS];
	uint64_t offered, offered_protocol;
	uint16_t avail[PEER_RINGS];
	bool deaf;   /* answers are not read */
	bool ruined; /* part of the memory is gone: hands off */
};

/* 0 or -errno. unsealed: the port takes memory that can be cut off, and half the sessions have it. */
must_check int session_open(struct session *s, const char *path, uint64_t seed, bool unsealed);
void session_close(struct session *s);

/* Messages and bytes of one program run. */
struct tally {
	uint64_t messages, valid; /* that the codec takes */
	uint64_t sessions, hangups;
	uint64_t attacks;
	uint64_t hit[64][STATES];
};
extern struct tally tally;

/* Sends it, counted. 0, or -errno of wire_send. */
must_check int session_send(struct session *s, const struct vhost_msg *msg);
/* From STATE_NOTHING to STATE_RUNNING as an honest front end goes. 0 or -errno. */
must_check int session_advance(struct session *s, enum state state);
/* Puts an honest frame into the transmit ring and buffers into the other, and kicks. */
void session_frames(struct session *s);
void session_kick(struct session *s, unsigned int ring);
struct vring_parts session_ring(const struct session *s, unsigned int ring);
void session_offer(struct session *s, unsigned int ring, uint16_t head);

/* ---- messages ---- */

/* A message as it goes out, which need not be one. */
struct rude_msg {
	uint8_t bytes[WIRE_MAX_BYTES];
	uint32_t len;
	struct vhost_msg msg; /* what it was made of, but for its descriptors */
	int fds[WIRE_MAX_FDS];
	unsigned int fd_count;
	bool valid; /* the codec takes it */
};

/* Names of all requests there are in the protocol, ours and others. NULL: no such. */
const char *request_name(uint32_t request);
#define REQUEST_MAX 46u

/* Makes a message of that request, well formed or not. Its descriptors stay where they are from. */
void rude_make(struct session *s, struct rude_msg *m, uint32_t request, bool well_formed);
/* Descriptors of every kind, made once. */
void kinds_open(void);

/* ---- attacks ---- */

/* Something an honest front end does not do to a running session. breaks: only of those that ruin it. */
void attack(struct session *s, bool breaks);

#endif
