#include "vswitch/switch.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "vswitch/port_ethdev.h"
#include "vswitch/port_vhost.h"

#define SWITCH_LEARN_BATCH 64u
#define SWITCH_TICKS_PER_SECOND (1000u / SWITCH_TICK_MS)

/* Takes one ring full at most: a peer that makes up addresses does not keep the main thread here. */
static unsigned int switch_take_learned(struct vswitch *sw)
{
	struct forward_learned learned[SWITCH_LEARN_BATCH];
	unsigned int taken = 0, n;

	do {
		n = lcores_learned(sw->lcores, learned, SWITCH_LEARN_BATCH);
		for (unsigned int i = 0; i < n; i++) {
			struct port *port = port_table_get(&sw->ports, learned[i].port);

			/* Not one that was removed since. */
			if (port && port->generation == learned[i].generation)
				fdb_learn(sw->fdb, learned[i].key, learned[i].port);
		}
		taken += n;
	} while (n == SWITCH_LEARN_BATCH && taken < LCORE_LEARN_RING);
	return taken;
}

/* As long as something comes, look every SWITCH_LEARN_MS; then be told again. */
static void switch_learn_more(void *opaque)
{
	struct vswitch *sw = opaque;

	if (switch_take_learned(sw) > 0 &&
	    loop_timer_arm(sw->learn_timer, SWITCH_LEARN_MS * 1000000ull) == 0)
		return;
	lcores_learn_rearm(sw->lcores);
	switch_take_learned(sw);
}

static void switch_learn(void *opaque, int fd, unsigned int events)
{
	(void)fd;
	(void)events;
	switch_learn_more(opaque);
}

static void switch_arm(struct vswitch *sw)
{
	if (loop_timer_arm(sw->tick, SWITCH_TICK_MS * 1000000ull) < 0)
		log_err("the timer of the forwarding table cannot be armed");
}

static void switch_tick_ports(struct vswitch *sw)
{
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		struct port *port = port_table_get(&sw->ports, (uint16_t)i);

		if (port && port->ops->tick)
			port->ops->tick(port);
	}
}

static void switch_alert(void *opaque, int fd, unsigned int events)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	(void)n;
	(void)events;
	switch_tick_ports(opaque);
}

static void switch_watch(void *opaque)
{
	struct vswitch *sw = opaque;

	lcores_watch(sw->lcores);
	if (loop_timer_arm(sw->watch, LCORE_WATCH_MS * 1000000ull) < 0)
		log_err("the watchdog of the lcores cannot be armed");
}

static void switch_tick(void *opaque)
{
	struct vswitch *sw = opaque;

	switch_tick_ports(sw);
	if (++sw->ticks % SWITCH_TICKS_PER_SECOND == 0)
		fdb_tick(sw->fdb, (uint32_t)((clock_now_ms() - sw->started_ms) / 1000));
	switch_arm(sw);
}

int switch_create(const struct switch_config *config, struct vswitch **out)
{
	struct vswitch *sw = calloc(1, sizeof(*sw));
	struct lcores_config lcores = {0};
	int rc = -ENOMEM;

	if (!sw) {
		log_err("no memory for the switch");
		return -ENOMEM;
	}
	sw->loop = config->loop;
	sw->started_ms = clock_now_ms();
	port_table_init(&sw->ports);
	sw->fdb = fdb_create(config->fdb_size, config->fdb_age);
	if (!sw->fdb) {
		log_err("no memory for a forwarding table of %u addresses", config->fdb_size);
		goto err_destroy;
	}
	lcores.ports = &sw->ports;
	lcores.fdb = sw->fdb;
	rc = lcores_create(&lcores, &sw->lcores);
	if (rc < 0) {
		log_err("the forwarding lcores did not start: %s", strerror(-rc));
		goto err_destroy;
	}
	rc = -ENOMEM;
	sw->learn_io = loop_io_add(sw->loop, lcores_learn_fd(sw->lcores), LOOP_READ | LOOP_EDGE,
				   switch_learn, sw);
	sw->learn_timer = loop_timer_create(sw->loop, switch_learn_more, sw);
	sw->alert_io = loop_io_add(sw->loop, lcores_alert_fd(sw->lcores), LOOP_READ, switch_alert,
				   sw);
	sw->watch = loop_timer_create(sw->loop, switch_watch, sw);
	sw->tick = loop_timer_create(sw->loop, switch_tick, sw);
	if (!sw->learn_io || !sw->learn_timer || !sw->alert_io || !sw->watch || !sw->tick) {
		log_err("no memory for the switch's events");
		goto err_destroy;
	}
	switch_arm(sw);
	switch_watch(sw);
	*out = sw;
	return 0;

err_destroy:
	switch_destroy(sw);
	return rc;
}

void switch_destroy(struct vswitch *sw)
{
	if (!sw)
		return;
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		struct port *port = port_table_get(&sw->ports, (uint16_t)i);

		if (port)
			switch_port_remove(sw, port);
	}
	loop_timer_destroy(sw->tick);
	loop_timer_destroy(sw->watch);
	loop_io_remove(sw->alert_io);
	loop_timer_destroy(sw->learn_timer);
	loop_io_remove(sw->learn_io);
	lcores_destroy(sw->lcores);
	fdb_destroy(sw->fdb);
	free(sw);
}

int switch_port_add(struct vswitch *sw, const struct switch_port_config *config,
		    struct port **port, char *why, size_t why_size)
{
	int rc;

	if (port_table_find(&sw->ports, config->id)) {
		snprintf(why, why_size, "port \"%s\" is there already", config->id);
		return -EEXIST;
	}
	if (config->devargs) {
		struct port_ethdev_config eth = {
			.id = config->id,
			.devargs = config->devargs,
			.mtu = config->mtu,
			.queues = config->queue_pairs,
			.ports = &sw->ports,
			.lcores = sw->lcores,
		};

		rc = port_ethdev_create(&eth, port, why, why_size);
	} else {
		struct port_vhost_config vhost = {
			.id = config->id,
			.socket = config->socket,
			.client = config->client,
			.allow_unsealed = config->allow_unsealed,
			.mtu = config->mtu,
			.queue_pairs = config->queue_pairs,
			.loop = sw->loop,
			.ports = &sw->ports,
			.lcores = sw->lcores,
		};

		rc = port_vhost_create(&vhost, port, why, why_size);
	}
	if (rc == 0)
		log_info("port %s (%s) added", config->id, (*port)->ops->type);
	return rc;
}

void switch_port_remove(struct vswitch *sw, struct port *port)
{
	uint16_t index = port->index;

	log_info("port %s removed", port->id);
	port->ops->destroy(port);
	fdb_flush(sw->fdb, index);
}

struct switch_sum {
	struct vswitch *sw;
	unsigned int lcore;
	struct stats *stats;
};

/* On the lcore: its own cells are at rest while it is here. */
static void switch_sum_lcore(void *opaque)
{
	struct switch_sum *sum = opaque;

	for (unsigned int i = 0; i < PORT_MAX; i++) {
		struct port *port = port_table_get(&sum->sw->ports, (uint16_t)i);

		if (port)
			stats_collect(sum->stats, &port->cells[sum->lcore]);
	}
}

void switch_stats(struct vswitch *sw, struct stats *stats)
{
	struct switch_sum sum = {.sw = sw, .stats = stats};

	/* Each lcore's books balance for themselves, so they need not be read at one moment. */
	*stats = sw->ports.retired;
	for (sum.lcore = 0; sum.lcore < lcores_count(sw->lcores); sum.lcore++)
		lcores_run(sw->lcores, sum.lcore, switch_sum_lcore, &sum);
}
