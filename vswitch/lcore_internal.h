/* What the two halves of lcore share: lcore.c (the polling threads) and lcore_control.c (the main
 * thread's side of them). */
#ifndef VSWITCH_LCORE_INTERNAL_H
#define VSWITCH_LCORE_INTERNAL_H

#include "vswitch/lcore.h"

#include <sys/types.h>

#include <rte_ring.h>

struct lcore_command {
	void (*fn)(void *opaque);
	void *opaque;
	_Atomic bool done;
};

struct lcore {
	/* Written at the start. */
	struct lcores *all;
	unsigned int index;
	unsigned int eal_id;
	_Atomic pid_t tid; /* 0: not running yet */
	struct rte_ring *commands;
	int epoll_fd;
	int wake_fd; /* commands wait */
	int ack_fd;  /* one was carried out */
	struct forward *forward;
	uint64_t spin_cycles;
	/* The lcore's own. */
	struct rx_queue *queues[LCORE_MAX_QUEUES];
	unsigned int queue_count;
	unsigned int unarmed_count; /* queues without kicks */
	uint64_t nap_us;
	bool quit;
	/* Written by the lcore, read by the main thread. */
	_Atomic uint64_t beat __attribute__((aligned(128))); /* grows while awake */
	_Atomic bool asleep;
	_Atomic uint64_t bursts, sleeps, kicks, sleep_ns, learn_lost;
	/* The main thread's. */
	uint64_t beat_seen __attribute__((aligned(128)));
	unsigned int queues_given;
	uint64_t interrupted;
};

struct lcores {
	struct lcores_config config;
	struct rte_ring *learned;
	int learn_fd;
	_Atomic bool learn_told;
	int alert_fd;
	unsigned int count;
	struct lcore *lcores[LCORE_MAX];
};

/* The thread; opaque is the lcore. */
int lcore_main(void *opaque);

/* forward_config's learn; opaque is the lcore. */
void lcore_learn(void *opaque, const struct forward_learned *learned);

#endif
