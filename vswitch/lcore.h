/*
 * The PMD lcores: each polls the receive queues it was given and forwards what they hold.
 *
 * All functions are the main thread's. What it wants done on a lcore arrives there through a ring
 * and is acknowledged between two bursts; the main thread waits for that, some microseconds.
 *
 * A lcore without work for LCORE_SPIN_US asks its queues for kicks and sleeps until one comes, a
 * command comes, or LCORE_SLEEP_MAX_MS have passed; queues without kicks (devices without receive
 * interrupts) are looked at every LCORE_NAP_MIN_US, growing to LCORE_NAP_MAX_US.
 *
 * A peer's eventfd may block the lcore that writes it. The main thread's timer calls
 * lcores_watch: a lcore that has not moved since the last call is interrupted by a signal, which
 * ends the write with EINTR; port_vhost then breaks that peer, and the back end makes it wait
 * before it may come again.
 */
#ifndef VSWITCH_LCORE_H
#define VSWITCH_LCORE_H

#include "vswitch/forward.h"

#define LCORE_MAX 64u
#define LCORE_MAX_QUEUES 512u
#define LCORE_SPIN_US 50u
#define LCORE_SLEEP_MAX_MS 100u
#define LCORE_NAP_MIN_US 50u
#define LCORE_NAP_MAX_US 2000u

struct lcores;

struct lcores_config {
	struct port_table *ports;
	struct fdb *fdb;
};

/* Takes all worker lcores of the EAL and starts them. 0 or -errno. */
must_check int lcores_create(const struct lcores_config *config, struct lcores **lcores);
/* Stops them; they must have no queues left. NULL is allowed. */
void lcores_destroy(struct lcores *lcores);

unsigned int lcores_count(const struct lcores *lcores);

/* Returns when every lcore has finished the burst it was in. */
void lcores_sync(struct lcores *lcores);

/* Runs fn on the lcore between two bursts, and returns when it has. */
void lcores_run(struct lcores *lcores, unsigned int lcore, void (*fn)(void *opaque), void *opaque);

/* Gives the queue to the lcore with the fewest queues (queue->lcore). Its port must be in the
 * table. -ENOSPC, or -errno of epoll. */
must_check int lcores_add_queue(struct lcores *lcores, struct rx_queue *queue);
/* On return the lcore does not touch it any more. */
void lcores_remove_queue(struct lcores *lcores, struct rx_queue *queue);

/*
 * Told once, as an edge, when addresses wait to be taken; not again before lcores_learn_rearm. What
 * came between the last taking and the rearming is not told: take once more.
 */
#define LCORE_LEARN_RING 1024u /* addresses that can wait */
int lcores_learn_fd(const struct lcores *lcores);
void lcores_learn_rearm(struct lcores *lcores);
/* Takes at most `count`; returns how many. */
unsigned int lcores_learned(struct lcores *lcores, struct forward_learned *learned,
			    unsigned int count);

/* Any lcore: a port's tick is wanted soon, its peer did something. The main thread reads alert_fd
 * and calls it. */
void lcores_alert(struct lcores *lcores);
int lcores_alert_fd(const struct lcores *lcores);

/* The watchdog; called every LCORE_WATCH_MS. */
#define LCORE_WATCH_MS 20u
void lcores_watch(struct lcores *lcores);

struct lcore_info {
	unsigned int eal_id;
	unsigned int queues;
	uint64_t bursts;       /* that held something */
	uint64_t sleeps;
	uint64_t kicks;	       /* sleeps ended by a kick or a command */
	uint64_t sleep_ns;     /* time asleep */
	uint64_t interrupted;  /* times the watchdog had to act */
	uint64_t learn_lost;   /* addresses that did not fit into the ring */
};
void lcores_info(const struct lcores *lcores, unsigned int lcore, struct lcore_info *info);

#endif
