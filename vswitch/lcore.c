#include "vswitch/lcore_internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ring_elem.h>

#include "core/clock.h"
#include "core/log.h"

#define LCORE_EVENTS 32

void lcore_learn(void *opaque, const struct forward_learned *learned)
{
	struct lcore *lc = opaque;
	struct lcores *all = lc->all;
	uint64_t one = 1;

	if (rte_ring_enqueue_elem(all->learned, (void *)(uintptr_t)learned, sizeof(*learned)) != 0) {
		stats_add(&lc->learn_lost, 1);
		return;
	}
	/* One system call, and none any more until the main thread asks for it. */
	if (!atomic_exchange(&all->learn_told, true) &&
	    write(all->learn_fd, &one, sizeof(one)) != sizeof(one))
		stats_add(&lc->learn_lost, 1);
}

void lcores_alert(struct lcores *lcores)
{
	uint64_t one = 1;
	ssize_t n = write(lcores->alert_fd, &one, sizeof(one));

	(void)n; /* full: it is told already */
}

static void lcore_commands(struct lcore *lc)
{
	uint64_t one = 1;
	void *slot;

	while (rte_ring_dequeue(lc->commands, &slot) == 0) {
		struct lcore_command *command = slot;

		command->fn(command->opaque);
		atomic_store_explicit(&command->done, true, memory_order_release);
		/* EAGAIN: more answers wait there than anyone could have asked for. */
		if (write(lc->ack_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
			log_warn("lcore %u cannot answer: %m", lc->eal_id);
	}
}

static unsigned int lcore_poll(struct lcore *lc)
{
	unsigned int work = 0;

	for (unsigned int i = 0; i < lc->queue_count; i++) {
		unsigned int taken = forward_burst(lc->forward, lc->queues[i]);

		if (taken > 0)
			stats_add(&lc->bursts, 1);
		work += taken;
	}
	return work;
}

static void lcore_disarm(struct lcore *lc, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (lc->queues[i]->kick_fd >= 0)
			lc->queues[i]->port->ops->disarm(lc->queues[i]);
}

/* Arms all queues; false when one of them has work: those armed are disarmed again. */
static bool lcore_arm(struct lcore *lc)
{
	for (unsigned int i = 0; i < lc->queue_count; i++) {
		struct rx_queue *queue = lc->queues[i];

		if (queue->kick_fd < 0 || queue->port->ops->arm(queue))
			continue;
		lcore_disarm(lc, i + 1);
		return false;
	}
	return true;
}

static void lcore_wait(struct lcore *lc)
{
	struct epoll_event events[LCORE_EVENTS];
	uint64_t ns = LCORE_SLEEP_MAX_MS * 1000000ull, before = clock_now_ns(), junk;
	struct timespec timeout;
	int n;

	if (lc->unarmed_count) {
		ns = lc->nap_us * 1000;
		lc->nap_us = MIN(lc->nap_us * 2, LCORE_NAP_MAX_US);
	}
	timeout.tv_sec = (time_t)(ns / 1000000000);
	timeout.tv_nsec = (long)(ns % 1000000000);
	n = epoll_pwait2(lc->epoll_fd, events, LCORE_EVENTS, &timeout, NULL);
	for (int i = 0; i < n; i++)
		if (events[i].data.fd == lc->wake_fd &&
		    read(lc->wake_fd, &junk, sizeof(junk)) < 0)
			break;
	stats_add(&lc->sleeps, 1);
	if (n > 0)
		stats_add(&lc->kicks, 1);
	stats_add(&lc->sleep_ns, clock_now_ns() - before);
}

static void lcore_sleep(struct lcore *lc)
{
	if (!lcore_arm(lc))
		return;
	/* What came before a device's interrupt was on. */
	if (lcore_poll(lc) > 0) {
		lcore_disarm(lc, lc->queue_count);
		return;
	}
	atomic_store(&lc->asleep, true);
	/* The command's author stores it first and looks at nothing; its wake_fd stays readable. */
	lcore_wait(lc);
	atomic_store(&lc->asleep, false);
	lcore_disarm(lc, lc->queue_count);
}

int lcore_main(void *opaque)
{
	struct lcore *lc = opaque;
	uint64_t last_work = rte_rdtsc();

	atomic_store(&lc->tid, gettid());
	while (!lc->quit) {
		stats_add(&lc->beat, 1);
		if (lcore_poll(lc) > 0) {
			last_work = rte_rdtsc();
			lc->nap_us = LCORE_NAP_MIN_US;
		} else if (rte_rdtsc() - last_work > lc->spin_cycles) {
			lcore_sleep(lc);
		} else {
			rte_pause();
		}
		if (!rte_ring_empty(lc->commands)) {
			lcore_commands(lc);
			last_work = rte_rdtsc();
		}
	}
	return 0;
}
