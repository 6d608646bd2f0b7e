#include "vswitch/lcore_internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_ring_elem.h>

#include "core/log.h"

#define LCORE_COMMANDS 64u
#define LCORE_SIGNAL SIGUSR2
#define LCORE_STUCK_MS 10 /* without an answer to a command */

static void lcore_interrupted(int signo)
{
	(void)signo;
}

static void lcore_wake(struct lcore *lc)
{
	uint64_t one = 1;

	if (write(lc->wake_fd, &one, sizeof(one)) != sizeof(one))
		log_warn("lcore %u could not be woken up", lc->eal_id);
}

/* It may merely not have been given a CPU: then the signal does nothing. */
static void lcore_interrupt(struct lcore *lc)
{
	pid_t tid = atomic_load(&lc->tid);

	if (tid && tgkill(getpid(), tid, LCORE_SIGNAL) == 0)
		lc->interrupted++;
}

void lcores_run(struct lcores *lcores, unsigned int lcore, void (*fn)(void *opaque), void *opaque)
{
	struct lcore *lc = lcores->lcores[lcore];
	struct lcore_command command = {.fn = fn, .opaque = opaque};
	struct pollfd ack = {.fd = lc->ack_fd, .events = POLLIN};
	uint64_t junk;

	while (rte_ring_enqueue(lc->commands, &command) != 0)
		sched_yield();
	lcore_wake(lc);
	/* Asleep, not yielding: the lcore may need this very CPU. */
	while (!atomic_load_explicit(&command.done, memory_order_acquire)) {
		if (poll(&ack, 1, LCORE_STUCK_MS) == 0)
			lcore_interrupt(lc);
		else if (read(lc->ack_fd, &junk, sizeof(junk)) < 0 && errno != EAGAIN)
			log_warn("lcore %u's answer cannot be read: %m", lc->eal_id);
	}
}

static void lcore_nothing(void *opaque)
{
	(void)opaque;
}

void lcores_sync(struct lcores *lcores)
{
	for (unsigned int i = 0; i < lcores->count; i++)
		lcores_run(lcores, i, lcore_nothing, NULL);
}

struct lcore_queue_change {
	struct lcore *lcore;
	struct rx_queue *queue;
};

static void lcore_queue_add(void *opaque)
{
	struct lcore_queue_change *change = opaque;
	struct lcore *lc = change->lcore;

	lc->queues[lc->queue_count++] = change->queue;
	lc->nap_us = LCORE_NAP_MIN_US;
	if (change->queue->kick_fd < 0)
		lc->unarmed_count++;
}

static void lcore_queue_remove(void *opaque)
{
	struct lcore_queue_change *change = opaque;
	struct lcore *lc = change->lcore;

	for (unsigned int i = 0; i < lc->queue_count; i++) {
		if (lc->queues[i] != change->queue)
			continue;
		lc->queues[i] = lc->queues[--lc->queue_count];
		if (change->queue->kick_fd < 0)
			lc->unarmed_count--;
		return;
	}
}

static int lcore_watch_fd(const struct lcore *lc, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	return epoll_ctl(lc->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int lcores_add_queue(struct lcores *lcores, struct rx_queue *queue)
{
	struct lcore *lc = lcores->lcores[0];
	struct lcore_queue_change change = {.queue = queue};
	int rc;

	for (unsigned int i = 1; i < lcores->count; i++)
		if (lcores->lcores[i]->queues_given < lc->queues_given)
			lc = lcores->lcores[i];
	if (lc->queues_given == LCORE_MAX_QUEUES)
		return -ENOSPC;
	if (queue->kick_fd >= 0) {
		rc = lcore_watch_fd(lc, queue->kick_fd,
				    EPOLLIN | (queue->kick_level ? 0 : EPOLLET));
		if (rc < 0)
			return rc;
	}
	queue->lcore = lc->index;
	lc->queues_given++;
	change.lcore = lc;
	lcores_run(lcores, lc->index, lcore_queue_add, &change);
	return 0;
}

void lcores_remove_queue(struct lcores *lcores, struct rx_queue *queue)
{
	struct lcore *lc = lcores->lcores[queue->lcore];
	struct lcore_queue_change change = {.lcore = lc, .queue = queue};

	lcores_run(lcores, lc->index, lcore_queue_remove, &change);
	lc->queues_given--;
	if (queue->kick_fd >= 0)
		epoll_ctl(lc->epoll_fd, EPOLL_CTL_DEL, queue->kick_fd, NULL);
}

unsigned int lcores_count(const struct lcores *lcores)
{
	return lcores->count;
}

int lcores_learn_fd(const struct lcores *lcores)
{
	return lcores->learn_fd;
}

int lcores_alert_fd(const struct lcores *lcores)
{
	return lcores->alert_fd;
}

void lcores_learn_rearm(struct lcores *lcores)
{
	atomic_store(&lcores->learn_told, false);
}

unsigned int lcores_learned(struct lcores *lcores, struct forward_learned *learned,
			    unsigned int count)
{
	return rte_ring_dequeue_burst_elem(lcores->learned, learned, sizeof(*learned), count, NULL);
}

void lcores_watch(struct lcores *lcores)
{
	for (unsigned int i = 0; i < lcores->count; i++) {
		struct lcore *lc = lcores->lcores[i];
		uint64_t beat = atomic_load_explicit(&lc->beat, memory_order_relaxed);

		if (beat == lc->beat_seen && !atomic_load(&lc->asleep))
			lcore_interrupt(lc);
		lc->beat_seen = beat;
	}
}

void lcores_info(const struct lcores *lcores, unsigned int lcore, struct lcore_info *info)
{
	const struct lcore *lc = lcores->lcores[lcore];

	*info = (struct lcore_info){
		.eal_id = lc->eal_id,
		.queues = lc->queues_given,
		.bursts = atomic_load_explicit(&lc->bursts, memory_order_relaxed),
		.sleeps = atomic_load_explicit(&lc->sleeps, memory_order_relaxed),
		.kicks = atomic_load_explicit(&lc->kicks, memory_order_relaxed),
		.sleep_ns = atomic_load_explicit(&lc->sleep_ns, memory_order_relaxed),
		.interrupted = lc->interrupted,
		.learn_lost = atomic_load_explicit(&lc->learn_lost, memory_order_relaxed),
	};
}

static void lcore_free(struct lcore *lc)
{
	if (!lc)
		return;
	forward_destroy(lc->forward);
	rte_ring_free(lc->commands);
	if (lc->wake_fd >= 0)
		close(lc->wake_fd);
	if (lc->ack_fd >= 0)
		close(lc->ack_fd);
	if (lc->epoll_fd >= 0)
		close(lc->epoll_fd);
	free(lc);
}

static struct lcore *lcore_alloc(struct lcores *all, unsigned int eal_id)
{
	struct lcore *lc = aligned_alloc(128, ALIGN_UP(sizeof(*lc), 128));
	struct forward_config config = {
		.ports = all->config.ports,
		.fdb = all->config.fdb,
		.lcore = all->count,
		.learn = lcore_learn,
		.opaque = lc,
	};
	char name[32];

	if (!lc)
		return NULL;
	memset(lc, 0, sizeof(*lc));
	snprintf(name, sizeof(name), "commands-%u", eal_id);
	lc->all = all;
	lc->index = all->count;
	lc->eal_id = eal_id;
	lc->nap_us = LCORE_NAP_MIN_US;
	lc->spin_cycles = rte_get_tsc_hz() * LCORE_SPIN_US / 1000000;
	lc->beat_seen = UINT64_MAX;
	lc->forward = forward_create(&config);
	lc->commands = rte_ring_create(name, LCORE_COMMANDS, SOCKET_ID_ANY, RING_F_SC_DEQ);
	lc->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	lc->ack_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	lc->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lc->forward && lc->commands && lc->wake_fd >= 0 && lc->ack_fd >= 0 &&
	    lc->epoll_fd >= 0 &&
	    lcore_watch_fd(lc, lc->wake_fd, EPOLLIN) == 0)
		return lc;
	lcore_free(lc);
	return NULL;
}

static int lcores_launch(struct lcores *lcores)
{
	unsigned int eal_id;

	RTE_LCORE_FOREACH_WORKER(eal_id)
	{
		struct lcore *lc;
		int rc;

		if (lcores->count == LCORE_MAX)
			break;
		lc = lcore_alloc(lcores, eal_id);
		if (!lc)
			return -ENOMEM;
		rc = rte_eal_remote_launch(lcore_main, lc, eal_id);
		if (rc < 0) {
			lcore_free(lc);
			return rc;
		}
		lcores->lcores[lcores->count++] = lc;
	}
	return lcores->count ? 0 : -ENODEV;
}

int lcores_create(const struct lcores_config *config, struct lcores **lcores)
{
	struct sigaction action = {.sa_handler = lcore_interrupted}; /* no SA_RESTART */
	struct lcores *all = calloc(1, sizeof(*all));
	int rc;

	if (!all)
		return -ENOMEM;
	all->config = *config;
	sigaction(LCORE_SIGNAL, &action, NULL);
	all->learn_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all->alert_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all->learned = rte_ring_create_elem("learned", sizeof(struct forward_learned),
					    LCORE_LEARN_RING, SOCKET_ID_ANY, RING_F_SC_DEQ);
	rc = all->learn_fd < 0 || all->alert_fd < 0 || !all->learned ? -ENOMEM : lcores_launch(all);
	if (rc < 0) {
		lcores_destroy(all);
		return rc;
	}
	*lcores = all;
	return 0;
}

static void lcore_quit(void *opaque)
{
	struct lcore *lc = opaque;

	lc->quit = true;
}

void lcores_destroy(struct lcores *lcores)
{
	if (!lcores)
		return;
	for (unsigned int i = 0; i < lcores->count; i++) {
		struct lcore *lc = lcores->lcores[i];

		lcores_run(lcores, i, lcore_quit, lc);
		rte_eal_wait_lcore(lc->eal_id);
		lcore_free(lc);
	}
	rte_ring_free(lcores->learned);
	if (lcores->learn_fd >= 0)
		close(lcores->learn_fd);
	if (lcores->alert_fd >= 0)
		close(lcores->alert_fd);
	free(lcores);
}
