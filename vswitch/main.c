#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "core/log.h"
#include "core/loop.h"
#include "vhost-user/peer_fds.h"
#include "vhost-user/peer_memory.h"
#include "vswitch/control.h"
#include "vswitch/options.h"
#include "vswitch/port_ethdev.h"
#include "vswitch/switch.h"
#include "vswitch/walls.h"

#define EXIT_USAGE 2

/*
 * net_tap counts arrivals in the handler of a real-time signal, and not atomically: when two threads
 * run it at once one arrival is forgotten, and a frame waits for the next one. So the threads that
 * the EAL starts have these signals blocked, and they all come to the main thread.
 */
static void main_driver_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		sigaddset(&set, signo);
	pthread_sigmask(how, &set, NULL);
}

static int main_init_eal(const struct options *options)
{
	struct options_eal eal;
	cpu_set_t allowed;

	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0) {
		log_err("cannot tell which CPUs are ours: %m");
		return -1;
	}
	if (options_make_eal(options, &allowed, &eal) < 0) {
		log_err("more than %d EAL arguments", OPTIONS_MAX_EAL_ARGS);
		return -1;
	}
	main_driver_signals(SIG_BLOCK);
	if (rte_eal_init(eal.argc, eal.argv) < 0) {
		log_err("DPDK's EAL did not start: %s (its own words are above)",
			rte_strerror(rte_errno));
		return -1;
	}
	main_driver_signals(SIG_UNBLOCK);
	return 0;
}

/* What may need rights, or files, that the switch then gives up. */
static int main_add_uplinks(struct vswitch *sw, const struct options *options)
{
	struct switch_port_config config = {.mtu = PORT_MTU_DEFAULT, .queue_pairs = 1};
	struct port *port;
	char why[256];

	for (unsigned int i = 0; i < options->uplink_count; i++) {
		config.id = options->uplinks[i].id;
		config.devargs = options->uplinks[i].devargs;
		if (switch_port_add(sw, &config, &port, why, sizeof(why)) < 0) {
			log_err("--uplink %s: %s", config.id, why);
			return -1;
		}
		port->declared = true;
	}
	return 0;
}

static void main_raise_lcore_walls(void *opaque)
{
	bool *failed = opaque;

	if (walls_raise_lcore() < 0)
		*failed = true;
}

/* Nobody has been listened to yet. The process's list first: a thread's own can only narrow it. */
static int main_raise_walls(struct vswitch *sw)
{
	bool failed = port_ethdev_freeze_memory() < 0 || walls_raise() < 0;

	for (unsigned int i = 0; !failed && i < lcores_count(sw->lcores); i++)
		lcores_run(sw->lcores, i, main_raise_lcore_walls, &failed);
	return failed ? -1 : 0;
}

static void main_stop(void *opaque)
{
	loop_stop(opaque);
}

/* What peers may do to us beyond their messages. */
static int main_prepare_for_peers(void)
{
	int err;

	if (peer_memory_install_handler() < 0) {
		log_err("the SIGBUS handler cannot be installed");
		return -1;
	}
	main_driver_signals(SIG_BLOCK);
	err = peer_fds_start();
	main_driver_signals(SIG_UNBLOCK);
	if (err)
		log_err("the threads that close peers' descriptors did not start: %s",
			strerror(-err));
	return err;
}

/* The EAL is up. Returns the exit status. */
static int main_run(const struct options *options)
{
	struct loop *loop = loop_create();
	struct loop_signal *terminate = NULL, *interrupt = NULL;
	struct control *control = NULL;
	struct vswitch *sw = NULL;
	struct switch_config config = {
		.loop = loop,
		.fdb_size = options->fdb_size,
		.fdb_age = options->fdb_age,
	};
	int status = EXIT_FAILURE;

	if (!loop) {
		log_err("no memory for the event loop");
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	terminate = loop_signal_add(loop, SIGTERM, main_stop, loop);
	interrupt = loop_signal_add(loop, SIGINT, main_stop, loop);
	if (!terminate || !interrupt) {
		log_err("no memory for the signals' handlers");
		goto out;
	}
	if (main_prepare_for_peers() < 0)
		goto out;
	port_ethdev_set_pool_size(options->mbufs);
	if (switch_create(&config, &sw) < 0 || main_add_uplinks(sw, options) < 0)
		goto out;
	if (control_create(sw, options->control, options->control_uid, &control) < 0)
		goto out;
	if (main_raise_walls(sw) < 0)
		goto out;
	log_info("ready, %u forwarding thread%s", lcores_count(sw->lcores),
		 lcores_count(sw->lcores) == 1 ? "" : "s");
	if (loop_run(loop) == 0)
		status = EXIT_SUCCESS;
	else
		log_err("the event loop failed");
out:
	control_destroy(control);
	switch_destroy(sw);
	loop_signal_remove(interrupt);
	loop_signal_remove(terminate);
	loop_destroy(loop);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	char why[256];
	int status;

	switch (options_parse(argc, argv, &options, why, sizeof(why))) {
	case OPTIONS_HELP:
		fputs(options_help(), stdout);
		return EXIT_SUCCESS;
	case OPTIONS_ERROR:
		fprintf(stderr, "vswitch: error: %s\n", why);
		return EXIT_USAGE;
	case OPTIONS_RUN:
		break;
	}
	log_init("vswitch", options.log_level);
	/* Behind the walls there is neither /etc/localtime (for DPDK's log) nor /dev/urandom. */
	tzset();
	json_object_seed(0);
	if (main_init_eal(&options) < 0)
		return EXIT_FAILURE;
	status = main_run(&options);
	rte_eal_cleanup();
	return status;
}
