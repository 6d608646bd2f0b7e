/*
 * The switch as a whole, as the main thread holds it: ports, forwarding table, lcores, and the
 * timers that let addresses age and watch the lcores. The EAL has been initialized before.
 *
 * All functions: main thread.
 */
#ifndef VSWITCH_SWITCH_H
#define VSWITCH_SWITCH_H

#include "core/loop.h"
#include "vswitch/lcore.h"

#define SWITCH_TICK_MS 250u
#define SWITCH_LEARN_MS 2u /* between looks at what was learned, while there is something */

struct vswitch {
	struct loop *loop;
	struct port_table ports;
	struct fdb *fdb;
	struct lcores *lcores;
	struct loop_io *learn_io;
	struct loop_timer *learn_timer;
	struct loop_io *alert_io;
	struct loop_timer *watch;
	struct loop_timer *tick;
	unsigned int ticks;
	uint64_t started_ms; /* CLOCK_MONOTONIC */
};

struct switch_config {
	struct loop *loop;
	uint32_t fdb_size; /* entries */
	uint32_t fdb_age;  /* seconds */
};

/* 0 or -errno; what failed is logged. */
must_check int switch_create(const struct switch_config *config, struct vswitch **sw);
/* Removes all ports and stops the lcores. NULL is allowed. */
void switch_destroy(struct vswitch *sw);

/* What port.add asks for; strings are borrowed. */
struct switch_port_config {
	const char *id;
	uint32_t mtu;
	unsigned int queue_pairs;
	const char *devargs; /* an ethdev port; or NULL and: */
	const char *socket;  /* a vhost-user port */
	bool client;
	bool allow_unsealed;
};

/* 0, or -errno with a line in why. The id must not be taken (-EEXIST). */
must_check int switch_port_add(struct vswitch *sw, const struct switch_port_config *config,
			       struct port **port, char *why, size_t why_size);
void switch_port_remove(struct vswitch *sw, struct port *port);

/* All that was ever counted, at a moment when every lcore is between two bursts or has changed
 * nothing since: the books balance (stats_imbalance is 0). */
void switch_stats(struct vswitch *sw, struct stats *stats);

#endif
