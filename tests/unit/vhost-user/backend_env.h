/*
 * For back-end tests: an event loop on its own thread, an owner that notes what it is told and
 * may take its time to let go of a ring, and a front end that writes messages by hand.
 * Functions are for the test's thread; the owner's ops run on the loop's.
 */
#ifndef TESTS_BACKEND_ENV_H
#define TESTS_BACKEND_ENV_H

#include <pthread.h>

#include "vhost-user/vhost_backend.h"
#include "vhost-user/vring_driver.h"

#define ENV_RINGS 4u
#define ENV_MEMORY 0x40000ull /* bytes of the front end's memory */
#define ENV_GPA 0x10000000ull
#define ENV_USER 0x7f0000000000ull
#define ENV_RING_SIZE 8u

struct owner {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool slow; /* does not acknowledge ring_stop by itself */
	struct vhost_backend *be;
	struct vhost_backend_ring *rings[ENV_RINGS]; /* NULL: not running */
	unsigned int starts, stops, ups, downs, connects, gones, dones;
	enum vhost_fault reason;
	uint16_t mtu;
	uint8_t mac[6];
};

struct env {
	struct loop *loop;
	pthread_t thread;
};

void env_init(struct env *env);
void env_fini(struct env *env);

/* features: device features to offer. path NULL: over a socketpair, whose end is *fd. */
struct owner *owner_create(struct env *env, const struct vhost_backend_config *base, int *fd);
int owner_create_err(struct env *env, const struct vhost_backend_config *base,
		     struct owner **owner);
/* Destroys the back end too and waits until it is gone. */
void owner_destroy(struct env *env, struct owner *owner);
/* Only asks for it. */
void owner_start_destroy(struct env *env, struct owner *owner);
void owner_ack(struct env *env, struct owner *owner, unsigned int ring);
void owner_break(struct env *env, struct owner *owner, enum vhost_fault reason);
/* Copies what ring `from` was given to read into what ring `to` was given to write. The number. */
unsigned int owner_echo(struct env *env, struct owner *owner, unsigned int from, unsigned int to);

/* Waits up to 10 s for the condition; fails the test after that. */
#define owner_wait(owner, condition)                                             \
	do {                                                                     \
		bool met_;                                                       \
		pthread_mutex_lock(&(owner)->lock);                              \
		while (!(met_ = (condition)) && owner_sleep(owner))              \
			;                                                        \
		pthread_mutex_unlock(&(owner)->lock);                            \
		if (!met_)                                                       \
			fail_msg("never came: %s", #condition);                  \
	} while (0)
bool owner_sleep(struct owner *owner); /* false: time is up */

/* A front end. */
struct peer {
	int fd;
	int memory_fd;
	uint8_t *memory; /* ENV_MEMORY bytes at ENV_GPA and ENV_USER */
	int kick[ENV_RINGS], call[ENV_RINGS];
	struct vring_driver rings[ENV_RINGS];
};

int memory_create(unsigned int seals); /* a memfd of ENV_MEMORY bytes */
void peer_init(struct peer *peer, int fd, int memory_fd);
void peer_fini(struct peer *peer);
void peer_send(int fd, const struct vhost_msg *msg); /* whatever it says */
/* Waits for an answer up to 10 s. False: the connection was closed. */
bool peer_receive(int fd, struct vhost_msg *msg);
bool peer_hears_nothing(int fd); /* for 30 ms */
bool peer_closed(int fd);	 /* within 10 s, after reading what came before */

void peer_send_u64(int fd, enum vhost_request request, uint64_t value);
void peer_send_state(int fd, enum vhost_request request, uint32_t index, uint32_t num);
void peer_send_fd(int fd, enum vhost_request request, uint64_t value, int passed);
uint64_t peer_ask_u64(int fd, enum vhost_request request);
void memory_message(struct vhost_msg *msg, int memory_fd);
/* Features, protocol features (0: none negotiated) and memory. */
void peer_negotiate(struct peer *peer, uint64_t features, uint64_t protocol);
void peer_set_ring(struct peer *peer, unsigned int ring); /* all but enabling */
void peer_enable_ring(struct peer *peer, unsigned int ring, bool on);

#endif
