/* The front end against a back end that behaves, fails and lies on purpose. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/vhost-user/scripted_peer.h"
#include "vhost-user/vhost_frontend.h"

#define FEATURES (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX)
#define RINGS 2u
#define RING_SIZE 64u
#define TIMEOUT_MS 200u /* where the test waits for it */

struct fixture {
	struct virtio_rig rig;
	struct scripted_peer peer;
	struct vhost_frontend *fe;
	struct vhost_frontend_ring rings[RINGS];
	unsigned int changes, stops;
	unsigned int sessions_wanted;
	uint64_t misfits_before;
};

static void changed(void *opaque)
{
	((struct fixture *)opaque)->changes++;
}

static void stopped(void *opaque)
{
	((struct fixture *)opaque)->stops++;
}

static const struct vhost_frontend_ops ops = {.changed = changed, .stopped = stopped};

static void create(struct fixture *f, const char *path, int listen_fd, unsigned int timeout_ms)
{
	const struct vhost_frontend_config config = {
		.name = "fe",
		.loop = f->rig.loop,
		.memory = f->rig.memory,
		.path = path,
		.listen_fd = listen_fd,
		.config_size = 12,
		.timeout_ms = timeout_ms,
		.backoff_max_ms = 20,
		.ops = &ops,
		.opaque = f,
	};

	assert_int_equal(vhost_frontend_create(&config, &f->fe), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	virtio_rig_init(&f->rig);
	scripted_peer_init(&f->peer, &f->rig);
	for (unsigned int i = 0; i < RINGS; i++) {
		gpa_t at = virtio_rig_alloc(&f->rig, 4096, 4096);

		f->rings[i] = (struct vhost_frontend_ring){
			.index = i,
			.size = RING_SIZE,
			.desc = at,
			.avail = at + 1024,
			.used = at + 2048,
			.kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			.call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			.enabled = true,
		};
	}
	create(f, f->peer.path, -1, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vhost_frontend_destroy(f->fe);
	scripted_peer_fini(&f->peer);
	for (unsigned int i = 0; i < RINGS; i++) {
		close(f->rings[i].kick_fd);
		close(f->rings[i].call_fd);
	}
	virtio_rig_fini(&f->rig);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t features)
{
	assert_int_equal(vhost_frontend_start(f->fe, features, f->rings, RINGS), 0);
}

static bool is_running(void *opaque)
{
	return vhost_frontend_running(((struct fixture *)opaque)->fe);
}

static bool is_not_running(void *opaque)
{
	return !is_running(opaque);
}

static bool is_connected(void *opaque)
{
	return vhost_frontend_connected(((struct fixture *)opaque)->fe);
}

static bool has_stopped(void *opaque)
{
	return ((struct fixture *)opaque)->stops > 0;
}

static bool has_misfit(void *opaque)
{
	return vhost_frontend_counters(((struct fixture *)opaque)->fe)->misfits > 0;
}

static bool enough_sessions(void *opaque)
{
	struct fixture *f = opaque;

	return f->peer.sessions >= f->sessions_wanted;
}

static bool until(struct fixture *f, bool (*done)(void *))
{
	return virtio_rig_run_until(&f->rig, done, f);
}

/* Whether b is the eventfd a: what is written to one can be read from the other. */
static bool same_eventfd(int a, int b)
{
	eventfd_t n;

	while (eventfd_read(a, &n) == 0)
		;
	return eventfd_write(b, 3) == 0 && eventfd_read(a, &n) == 0 && n == 3;
}

static void check_rings(struct fixture *f)
{
	for (unsigned int i = 0; i < RINGS; i++) {
		const struct peer_ring *ring = &f->peer.rings[i];

		assert_int_equal(ring->num, RING_SIZE);
		assert_int_equal(ring->enabled, f->rings[i].enabled);
		assert_int_equal(scripted_peer_gpa(&f->peer, ring->addr.desc), f->rings[i].desc);
		assert_int_equal(scripted_peer_gpa(&f->peer, ring->addr.avail), f->rings[i].avail);
		assert_int_equal(scripted_peer_gpa(&f->peer, ring->addr.used), f->rings[i].used);
		assert_true(same_eventfd(f->rings[i].kick_fd, ring->kick_fd));
		assert_true(same_eventfd(f->rings[i].call_fd, ring->call_fd));
	}
}

static void test_start(void **state)
{
	struct fixture *f = *state;
	uint8_t config[12];

	memset(f->peer.config, 0x5a, sizeof(f->peer.config));
	f->rings[1].enabled = false;
	f->rings[1].base = 9;
	assert_false(vhost_frontend_connected(f->fe));
	assert_true(until(f, is_connected));
	assert_int_equal(f->peer.seen[VHOST_MSG_SET_FEATURES], 0);
	assert_int_equal(f->peer.region_count, 0); /* memory is not shown before it must be */
	start(f, FEATURES);
	assert_true(until(f, is_running));
	assert_string_equal(vhost_frontend_reason(f->fe), "");
	assert_int_equal(f->peer.acked, FEATURES | 1ULL << VHOST_F_PROTOCOL_FEATURES);
	assert_int_equal(f->peer.status & VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(f->peer.region_count, 1);
	assert_int_equal(f->peer.regions[0].size, RIG_MEMORY);
	assert_int_equal(f->peer.seen[VHOST_MSG_SET_MEM_TABLE], 0);
	check_rings(f);
	assert_int_equal(f->peer.rings[1].base, 9);
	assert_int_equal(vhost_frontend_peer_config(f->fe, config, sizeof(config)), 12);
	assert_int_equal(config[11], 0x5a);
	assert_true(f->changes > 0);
}

/* A back end that knows none of the protocol features. */
static void test_plain_peer(void **state)
{
	struct fixture *f = *state;

	f->peer.features &= ~(1ULL << VHOST_F_PROTOCOL_FEATURES);
	start(f, FEATURES);
	assert_true(until(f, is_running));
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->peer.seen[VHOST_MSG_GET_PROTOCOL_FEATURES], 0);
	assert_int_equal(f->peer.seen[VHOST_MSG_SET_VRING_ENABLE], 0);
	assert_int_equal(f->peer.seen[VHOST_MSG_SET_STATUS], 0);
	assert_int_equal(f->peer.seen[VHOST_MSG_SET_MEM_TABLE], 1);
	assert_int_equal(f->peer.acked, FEATURES);
	f->rings[0].enabled = f->rings[1].enabled = false;
	check_rings(f);
}

static void test_absent_peer(void **state)
{
	struct fixture *f = *state;

	scripted_peer_leave(&f->peer);
	start(f, FEATURES);
	virtio_rig_settle(&f->rig);
	assert_non_null(strstr(vhost_frontend_reason(f->fe), "cannot connect"));
	assert_true(vhost_frontend_stop(f->fe)); /* nothing runs: nothing to wait for */
	start(f, FEATURES);
	scripted_peer_return(&f->peer);
	assert_true(until(f, is_running));
}

static void test_peer_connects(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	vhost_frontend_destroy(f->fe);
	scripted_peer_leave(&f->peer);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->peer.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	create(f, NULL, fd, 0);
	start(f, FEATURES);
	for (unsigned int i = 0; i < 2; i++) {
		scripted_peer_connect(&f->peer, f->peer.path);
		assert_true(until(f, is_running));
		check_rings(f);
		scripted_peer_hang_up(&f->peer);
		assert_true(until(f, is_not_running));
	}
	unlink(f->peer.path);
}

static void test_reconnect(void **state)
{
	struct fixture *f = *state;
	struct vring_used *used = virtio_rig_ptr(&f->rig, f->rings[0].used);
	eventfd_t n;

	f->rings[0].base = 3;
	start(f, FEATURES);
	assert_true(until(f, is_running));
	assert_int_equal(f->peer.rings[0].base, 3);
	used->idx = 17; /* so far the peer had come */
	while (eventfd_read(f->rings[0].kick_fd, &n) == 0 || eventfd_read(f->rings[0].call_fd, &n) == 0)
		;
	scripted_peer_hang_up(&f->peer);
	assert_true(until(f, is_not_running));
	assert_true(until(f, is_running));
	assert_int_equal(f->peer.sessions, 2);
	assert_int_equal(f->peer.rings[0].base, 17);
	assert_int_equal(f->peer.rings[1].base, 0);
	/* What was rung meanwhile is rung again, both ways. */
	assert_int_equal(eventfd_read(f->rings[0].kick_fd, &n), 0);
	assert_int_equal(eventfd_read(f->rings[0].call_fd, &n), 0);
	check_rings(f);
	assert_int_equal(vhost_frontend_counters(f->fe)->losses, 1);
	assert_int_equal(vhost_frontend_counters(f->fe)->faults, 0);
}

static void test_stop(void **state)
{
	struct fixture *f = *state;

	start(f, FEATURES);
	assert_true(until(f, is_running));
	f->peer.rings[1].base = 41;
	assert_false(vhost_frontend_stop(f->fe));
	assert_int_equal(vhost_frontend_start(f->fe, FEATURES, f->rings, RINGS), -EBUSY);
	assert_int_equal(f->stops, 0);
	assert_true(until(f, has_stopped));
	assert_int_equal(f->stops, 1);
	assert_int_equal(vhost_frontend_base(f->fe, 1), 41);
	assert_int_equal(f->peer.seen[VHOST_MSG_GET_VRING_BASE], RINGS);
	assert_int_equal(f->peer.status, 0);
	assert_true(vhost_frontend_connected(f->fe));
	/* The same connection serves again; memory is known. */
	start(f, FEATURES);
	assert_true(until(f, is_running));
	assert_int_equal(f->peer.sessions, 1);
	assert_int_equal(f->peer.region_count, 1);
	check_rings(f);
}

static void test_dead_peer_counts_as_stopped(void **state)
{
	struct fixture *f = *state;
	struct vring_used *used = virtio_rig_ptr(&f->rig, f->rings[0].used);

	start(f, FEATURES);
	assert_true(until(f, is_running));
	used->idx = 5;
	f->peer.deed = PEER_HANGS_UP;
	f->peer.at = VHOST_MSG_GET_VRING_BASE;
	assert_false(vhost_frontend_stop(f->fe));
	assert_true(until(f, has_stopped));
	assert_int_equal(vhost_frontend_base(f->fe, 0), 5);
}

/* It dies after the stop was wished for, and before it could be said: an answer was due. */
static void test_peer_dies_unasked(void **state)
{
	struct fixture *f = *state;

	f->peer.deed = PEER_IS_SILENT;
	f->peer.at = VHOST_MSG_ADD_MEM_REG;
	start(f, FEATURES);
	virtio_rig_settle(&f->rig);
	assert_false(vhost_frontend_stop(f->fe));
	virtio_rig_settle(&f->rig);
	scripted_peer_hang_up(&f->peer);
	assert_true(until(f, has_stopped));
}

static void test_wait_stopped(void **state)
{
	struct fixture *f = *state;

	start(f, FEATURES);
	assert_true(until(f, is_running));
	f->peer.deed = PEER_IS_SILENT;
	f->peer.at = VHOST_MSG_GET_VRING_BASE;
	assert_false(vhost_frontend_stop(f->fe));
	vhost_frontend_wait_stopped(f->fe, 20); /* nobody runs the loop: no answer can come */
	assert_false(vhost_frontend_running(f->fe));
	assert_int_equal(vhost_frontend_counters(f->fe)->timeouts, 1);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->stops, 0);
	f->peer.deed = PEER_OBEYS;
	start(f, FEATURES);
	assert_true(until(f, is_running));
}

static void test_misfit(void **state)
{
	struct fixture *f = *state;

	start(f, FEATURES | 1 << 5);
	assert_true(until(f, has_misfit));
	assert_false(vhost_frontend_running(f->fe));
	assert_non_null(strstr(vhost_frontend_reason(f->fe), "lacks features 0x20"));
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->peer.sessions, 1); /* asking again would change nothing */
	assert_int_equal(f->peer.seen[VHOST_MSG_SET_FEATURES], 0);
	/* Another peer may do. */
	f->peer.features |= 1 << 5;
	scripted_peer_hang_up(&f->peer);
	assert_true(until(f, is_running));
	/* So may another driver. */
	assert_false(vhost_frontend_stop(f->fe));
	assert_true(until(f, has_stopped));
	f->peer.queue_num = 0;
	f->peer.features &= ~(1ULL << 5);
	scripted_peer_hang_up(&f->peer);
	assert_true(until(f, is_connected));
	start(f, FEATURES);
	virtio_rig_settle(&f->rig);
	assert_non_null(strstr(vhost_frontend_reason(f->fe), "serves 0 rings"));
}

static void test_updates(void **state)
{
	struct fixture *f = *state;
	const struct mem_slot_request slot = {
		.gpa = GIB, .size = MIB, .page_size = 4 * KIB, .name = "more"};
	int call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	char why[128];

	start(f, FEATURES);
	assert_true(until(f, is_running));
	vhost_frontend_set_call(f->fe, 0, call);
	vhost_frontend_set_call(f->fe, 1, -1);
	vhost_frontend_set_enabled(f->fe, 1, false);
	assert_int_equal(guest_memory_add_slot(f->rig.memory, &slot, why, sizeof(why)), 0);
	virtio_rig_settle(&f->rig);
	assert_true(same_eventfd(call, f->peer.rings[0].call_fd));
	assert_int_equal(f->peer.rings[1].call_fd, -1);
	assert_int_equal(f->peer.rings[1].enabled, 0);
	assert_int_equal(f->peer.region_count, 2);
	assert_int_equal(f->peer.regions[1].gpa, GIB);
	assert_true(vhost_frontend_running(f->fe));
	close(call);
}

/* Whatever the peer does at whichever request: the session ends, the next one succeeds. */
static void test_bad_peers(void **state)
{
	static const struct {
		enum peer_deed deed;
		uint32_t at;
	} cases[] = {
		{PEER_REFUSES, VHOST_MSG_SET_FEATURES},
		{PEER_REFUSES, VHOST_MSG_ADD_MEM_REG},
		{PEER_REFUSES, VHOST_MSG_SET_VRING_ADDR},
		{PEER_REFUSES, VHOST_MSG_SET_VRING_ENABLE},
		{PEER_IS_SILENT, VHOST_MSG_GET_FEATURES},
		{PEER_IS_SILENT, VHOST_MSG_SET_VRING_ENABLE},
		{PEER_HANGS_UP, VHOST_MSG_GET_FEATURES},
		{PEER_HANGS_UP, VHOST_MSG_SET_VRING_KICK},
		{PEER_MISTAKES, VHOST_MSG_GET_FEATURES},
		{PEER_MISTAKES, VHOST_MSG_SET_FEATURES},
		{PEER_BABBLES, VHOST_MSG_GET_PROTOCOL_FEATURES},
		{PEER_BABBLES, VHOST_MSG_SET_VRING_ENABLE},
		{PEER_REPEATS, VHOST_MSG_GET_STATUS},
		{PEER_REPEATS, VHOST_MSG_SET_VRING_ENABLE},
		{PEER_REFUSES, VHOST_MSG_GET_STATUS}, /* FEATURES_OK is missing in it */
	};
	struct fixture *f = *state;

	vhost_frontend_destroy(f->fe);
	create(f, f->peer.path, -1, TIMEOUT_MS);
	start(f, FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t losses = vhost_frontend_counters(f->fe)->losses;

		f->peer.deed = cases[i].deed;
		f->peer.at = cases[i].at;
		f->sessions_wanted = f->peer.sessions + 2;
		scripted_peer_hang_up(&f->peer);
		if (!until(f, enough_sessions))
			fail_msg("case %u: the front end held on to a bad peer", i);
		f->peer.deed = PEER_OBEYS;
		scripted_peer_hang_up(&f->peer);
		if (!until(f, is_running))
			fail_msg("case %u: no recovery", i);
		assert_true(vhost_frontend_counters(f->fe)->losses >= losses + 2);
		check_rings(f);
	}
	assert_true(vhost_frontend_counters(f->fe)->timeouts >= 2);
	assert_true(vhost_frontend_counters(f->fe)->faults >= 9);
}

static void test_lies(void **state)
{
	struct fixture *f = *state;

	f->peer.deed = PEER_LIES;
	f->peer.at = VHOST_MSG_GET_QUEUE_NUM;
	start(f, FEATURES);
	assert_true(until(f, is_running)); /* more rings than there are numbers: enough */
	f->peer.at = VHOST_MSG_GET_VRING_BASE;
	assert_false(vhost_frontend_stop(f->fe));
	assert_true(until(f, has_stopped));
	assert_int_equal(vhost_frontend_counters(f->fe)->faults, 1);
}

/* The front end is content, or waits for a peer that offers more, or has tried often enough. */
static bool is_settled(void *opaque)
{
	struct fixture *f = opaque;

	return is_running(f) || enough_sessions(f) ||
	       vhost_frontend_counters(f->fe)->misfits > f->misfits_before;
}

/* Anything at all, at every request: each session ends or runs, and an honest one runs after it. */
static void test_raving_peer(void **state)
{
	struct fixture *f = *state;

	vhost_frontend_destroy(f->fe);
	create(f, f->peer.path, -1, TIMEOUT_MS);
	start(f, FEATURES);
	for (uint64_t seed = 1; seed <= 30; seed++) {
		f->peer.deed = PEER_RAVES;
		f->peer.raving = seed;
		f->misfits_before = vhost_frontend_counters(f->fe)->misfits;
		f->sessions_wanted = f->peer.sessions + 4;
		scripted_peer_hang_up(&f->peer);
		until(f, is_not_running);
		if (!until(f, is_settled))
			fail_msg("seed %u: the front end gave up", (unsigned int)seed);
		f->peer.deed = PEER_OBEYS;
		scripted_peer_hang_up(&f->peer);
		until(f, is_not_running);
		if (!until(f, is_running))
			fail_msg("seed %u: no recovery", (unsigned int)seed);
		check_rings(f);
	}
	assert_true(vhost_frontend_counters(f->fe)->faults >= 20);
}

static void test_bad_arguments(void **state)
{
	struct fixture *f = *state;
	char path[200];
	struct vhost_frontend_config config = {.path = path, .loop = f->rig.loop,
					       .memory = f->rig.memory};
	struct vhost_frontend *fe;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	assert_int_equal(vhost_frontend_create(&config, &fe), -ENAMETOOLONG);
	assert_int_equal(vhost_frontend_start(f->fe, 0, f->rings, VHOST_FRONTEND_MAX_RINGS + 1),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_connects, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reconnect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_peer_counts_as_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_peer_dies_unasked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_misfit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_updates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_peers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raving_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_arguments, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
