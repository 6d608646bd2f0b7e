/*
 * The hand-over between control and data thread under fire: a data thread moves frames without a
 * pause while the front end replaces its memory table, its kicks and calls and stops rings, again and
 * again. No frame may be lost, and (under the sanitizers) nothing unmapped touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend_env.h"

#define PAIR 2u
#define ROUNDS 150u

enum { CELL_EMPTY, CELL_RUNNING, CELL_LEAVE };

/* What the data thread and the loop's thread share of a ring. */
struct cell {
	struct mover *mover;
	_Atomic(struct vhost_backend_ring *) ring;
	_Atomic int state;
	unsigned int index;
};

struct mover {
	struct env env;
	struct vhost_backend *be;
	struct cell cells[PAIR];
	pthread_t thread;
	_Atomic bool end;
	_Atomic unsigned int starts, gones;
};

static void on_let_go(void *opaque)
{
	struct cell *cell = opaque;

	vhost_backend_ring_stopped(cell->mover->be, cell->index);
}

/* Data thread: one frame at a time, so that most stops come in the middle of work. */
static void move(struct vhost_backend_ring *tx, struct vhost_backend_ring *rx)
{
	struct iovec iov[2][4];
	uint64_t addr[2][4];
	struct vring_sg sg[2] = { { iov[0], addr[0], 4, 0 }, { iov[1], addr[1], 4, 0 } };
	struct vring_chain in, out;
	uint32_t len;

	if (!vring_device_pop(&tx->vr, &in, 1, &sg[0]))
		return;
	if (!vring_device_pop(&rx->vr, &out, 1, &sg[1])) {
		vring_device_unpop(&tx->vr, 1);
		return;
	}
	len = MIN(in.readable_len, out.writable_len);
	memcpy(out.iov[0].iov_base, in.iov[0].iov_base, len);
	vring_device_put(&rx->vr, &out, len);
	vring_device_put(&tx->vr, &in, 0);
	vring_device_publish(&rx->vr);
	vring_device_publish(&tx->vr);
	if (vring_device_should_notify(&rx->vr)) {
		uint64_t one = 1;

		if (write(rx->call_fd, &one, sizeof(one)) < 0)
			abort();
	}
}

static void *mover_run(void *opaque)
{
	struct mover *m = opaque;

	while (!atomic_load(&m->end)) {
		for (unsigned int i = 0; i < PAIR; i++) {
			struct cell *cell = &m->cells[i];

			if (atomic_load(&cell->state) != CELL_LEAVE)
				continue;
			atomic_store(&cell->ring, NULL);
			atomic_store(&cell->state, CELL_EMPTY);
			if (loop_post(m->env.loop, on_let_go, cell))
				abort();
		}
		if (atomic_load(&m->cells[0].ring) && atomic_load(&m->cells[1].ring))
			move(atomic_load(&m->cells[1].ring), atomic_load(&m->cells[0].ring));
		else
			sched_yield();
	}
	return NULL;
}

static void on_ring_start(void *opaque, unsigned int index, struct vhost_backend_ring *ring)
{
	struct mover *m = opaque;

	atomic_store(&m->cells[index].state, CELL_RUNNING);
	atomic_store(&m->cells[index].ring, ring);
	atomic_fetch_add(&m->starts, 1);
}

static void on_ring_stop(void *opaque, unsigned int index)
{
	struct mover *m = opaque;

	atomic_store(&m->cells[index].state, CELL_LEAVE);
}

static void on_gone(void *opaque, enum vhost_fault reason)
{
	struct mover *m = opaque;

	atomic_fetch_add(&m->gones, 1);
}

static const struct vhost_backend_ops mover_ops = {
	.ring_start = on_ring_start,
	.ring_stop = on_ring_stop,
	.gone = on_gone,
};

static void do_create(void *opaque)
{
	struct mover *m = ((void **)opaque)[0];

	assert_int_equal(vhost_backend_create(((void **)opaque)[1], &m->be), 0);
}

static void on_destroyed(void *opaque)
{
	atomic_store((_Atomic bool *)opaque, true);
}

static void do_destroy(void *opaque)
{
	struct mover *m = opaque;

	vhost_backend_destroy(m->be, on_destroyed, &m->end);
}

/* The front end's traffic: numbered frames in, the same out in the same order. */
struct traffic {
	struct peer *peer;
	uint32_t sent, received;
};

#define AREA 0x10000u /* of the peer's memory: buffers of ring 0, then of ring 1 */

static uint32_t offset_of(unsigned int ring, uint32_t n)
{
	return AREA + ring * 0x1000 + n % ENV_RING_SIZE * 64;
}

static void traffic_go(struct traffic *t)
{
	struct vring_driver *rx = &t->peer->rings[0], *tx = &t->peer->rings[1];
	uint32_t written;
	void *token;

	while (vring_driver_get_used(tx, &token, &written))
		;
	while (vring_driver_get_used(rx, &token, &written)) {
		assert_int_equal(written, 64);
		assert_int_equal(get_le32(t->peer->memory + offset_of(0, t->received)), t->received);
		t->received++;
	}
	while (rx->free_count && tx->free_count && t->sent - t->received < ENV_RING_SIZE) {
		struct vring_buf in = { ENV_GPA + offset_of(0, t->sent), 64 };
		struct vring_buf out = { ENV_GPA + offset_of(1, t->sent), 64 };

		put_le32(t->peer->memory + offset_of(1, t->sent), t->sent);
		assert_int_equal(vring_driver_add(rx, &in, 0, 1, NULL), 0);
		assert_int_equal(vring_driver_add(tx, &out, 1, 0, NULL), 0);
		t->sent++;
	}
	vring_driver_publish(rx);
	vring_driver_publish(tx);
	assert_int_equal(rx->fault, VHOST_FAULT_NONE);
	assert_int_equal(tx->fault, VHOST_FAULT_NONE);
}

static void traffic_until(struct traffic *t, uint32_t received)
{
	for (unsigned int patience = 0; t->received < received; patience++) {
		if (patience > 2000)
			usleep(100);
		if (patience > 100000)
			fail_msg("frames are lost: %u of %u", t->received, received);
		traffic_go(t);
		sched_yield();
	}
}

static void disturb(struct peer *peer, unsigned int round)
{
	struct vhost_msg msg;

	switch (round % 4) {
	case 0:
		memory_message(&msg, peer->memory_fd);
		peer_send(peer->fd, &msg);
		break;
	case 1:
		peer_send_fd(peer->fd, VHOST_MSG_SET_VRING_KICK, round & 1, peer->kick[round & 1]);
		peer_send_fd(peer->fd, VHOST_MSG_SET_VRING_CALL, 0, peer->call[round % 3]);
		break;
	case 2:
		peer_send_state(peer->fd, VHOST_MSG_GET_VRING_BASE, 1, 0);
		assert_true(peer_receive(peer->fd, &msg));
		peer_send_fd(peer->fd, VHOST_MSG_SET_VRING_KICK, 1, peer->kick[1]);
		break;
	case 3:
		peer_send_state(peer->fd, VHOST_MSG_SET_VRING_ENABLE, 0, 0);
		peer_send_state(peer->fd, VHOST_MSG_SET_VRING_ENABLE, 0, 1);
		break;
	}
}

static void nothing_is_lost_while_everything_changes(void **state)
{
	struct mover m = {0};
	struct vhost_backend_config config = { .ops = &mover_ops, .opaque = &m, .rings = PAIR };
	void *arguments[2] = { &m, &config };
	struct traffic traffic = {0};
	struct peer peer;
	int pair[2];

	env_init(&m.env);
	for (unsigned int i = 0; i < PAIR; i++) {
		m.cells[i].mover = &m;
		m.cells[i].index = i;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	config.fd = pair[0];
	config.loop = m.env.loop;
	assert_int_equal(loop_call(m.env.loop, do_create, arguments), 0);
	assert_int_equal(pthread_create(&m.thread, NULL, mover_run, &m), 0);
	peer_init(&peer, pair[1], memory_create(F_SEAL_SHRINK));
	peer_negotiate(&peer, 1ull << VIRTIO_F_VERSION_1, 1ull << VHOST_PROTO_MQ);
	for (unsigned int i = 0; i < PAIR; i++) {
		peer_set_ring(&peer, i);
		peer_enable_ring(&peer, i, true);
	}
	traffic.peer = &peer;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		traffic_go(&traffic);
		disturb(&peer, round);
		traffic_until(&traffic, traffic.received + 5);
	}
	traffic_until(&traffic, traffic.sent);
	assert_int_equal(atomic_load(&m.gones), 0);
	assert_true(atomic_load(&m.starts) > ROUNDS);
	/* Its end waits for the data thread, which ends when it has come. */
	assert_int_equal(loop_call(m.env.loop, do_destroy, &m), 0);
	pthread_join(m.thread, NULL);
	peer_fini(&peer);
	env_fini(&m.env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_while_everything_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
