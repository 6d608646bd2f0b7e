#include "vswitch/lcore.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "core/log.h"

#define LCORE_COMMANDS 64u
#define LCORE_SIGNAL SIGUSR2
#define LCORE_STUCK_MS 100u /* without an answer to a command */
#define LCORE_EVENTS 32

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
	int wake_fd;
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
	unsigned int count;
	struct lcore *lcores[LCORE_MAX];
};

/* ---- on the lcore ---- */

static void lcore_learn(void *opaque, const struct forward_learned *learned)
{
	struct lcore *lc = opaque;
	struct lcores *all = lc->all;
	uint64_t one = 1;

	if (rte_ring_enqueue_elem(all->learned, (void *)(uintptr_t)learned, sizeof(*learned)) != 0) {
		stats_add(&lc->learn_lost, 1);
		return;
	}
	/* One system call for all that is learned until the main thread looks. */
	if (!atomic_exchange(&all->learn_told, true) &&
	    write(all->learn_fd, &one, sizeof(one)) != sizeof(one))
		stats_add(&lc->learn_lost, 1);
}

static void lcore_commands(struct lcore *lc)
{
	void *slot;

	while (rte_ring_dequeue(lc->commands, &slot) == 0) {
		struct lcore_command *command = slot;

		command->fn(command->opaque);
		atomic_store_explicit(&command->done, true, memory_order_release);
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

static uint64_t lcore_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void lcore_wait(struct lcore *lc)
{
	struct epoll_event events[LCORE_EVENTS];
	uint64_t ns = LCORE_SLEEP_MAX_MS * 1000000ull, before = lcore_now_ns(), junk;
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
	stats_add(&lc->sleep_ns, lcore_now_ns() - before);
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

static int lcore_main(void *opaque)
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

/* ---- on the main thread ---- */

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
	uint64_t start = lcore_now_ns(), patience = LCORE_STUCK_MS * 1000000ull;

	while (rte_ring_enqueue(lc->commands, &command) != 0)
		sched_yield();
	lcore_wake(lc);
	while (!atomic_load_explicit(&command.done, memory_order_acquire)) {
		sched_yield();
		if (lcore_now_ns() - start > patience) {
			patience += LCORE_STUCK_MS * 1000000ull;
			lcore_interrupt(lc);
		}
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

void lcores_learn_rearm(struct lcores *lcores)
{
	uint64_t junk;

	if (read(lcores->learn_fd, &junk, sizeof(junk)) < 0 && errno != EAGAIN)
		log_warn("reading the learning eventfd failed: %m");
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

/* ---- life ---- */

static void lcore_free(struct lcore *lc)
{
	if (!lc)
		return;
	forward_destroy(lc->forward);
	rte_ring_free(lc->commands);
	if (lc->wake_fd >= 0)
		close(lc->wake_fd);
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
	lc->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lc->forward && lc->commands && lc->wake_fd >= 0 && lc->epoll_fd >= 0 &&
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
	all->learned = rte_ring_create_elem("learned", sizeof(struct forward_learned),
					    LCORE_LEARN_RING, SOCKET_ID_ANY, RING_F_SC_DEQ);
	rc = all->learn_fd < 0 || !all->learned ? -ENOMEM : lcores_launch(all);
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
	free(lcores);
}
