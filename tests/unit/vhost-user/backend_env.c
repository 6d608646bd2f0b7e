#include "backend_env.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 10000

static void *env_run(void *opaque)
{
	struct env *env = opaque;

	assert_int_equal(loop_run(env->loop), 0);
	return NULL;
}

void env_init(struct env *env)
{
	env->loop = loop_create();
	assert_non_null(env->loop);
	assert_int_equal(pthread_create(&env->thread, NULL, env_run, env), 0);
}

void env_fini(struct env *env)
{
	loop_stop(env->loop);
	pthread_join(env->thread, NULL);
	loop_destroy(env->loop);
}

bool owner_sleep(struct owner *owner)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	return pthread_cond_timedwait(&owner->changed, &owner->lock, &end) == 0;
}

static struct owner *owner_enter(void *opaque)
{
	struct owner *owner = opaque;

	pthread_mutex_lock(&owner->lock);
	return owner;
}

static void owner_leave(struct owner *owner)
{
	pthread_cond_broadcast(&owner->changed);
	pthread_mutex_unlock(&owner->lock);
}

static void on_ring_start(void *opaque, unsigned int index, struct vhost_backend_ring *ring)
{
	struct owner *owner = owner_enter(opaque);

	owner->rings[index] = ring;
	owner->starts++;
	owner_leave(owner);
}

static void on_ring_stop(void *opaque, unsigned int index)
{
	struct owner *owner = owner_enter(opaque);
	bool slow = owner->slow;

	owner->stops++;
	owner->rings[index] = NULL;
	owner_leave(owner);
	if (!slow)
		vhost_backend_ring_stopped(owner->be, index);
}

static void on_link(void *opaque, bool up)
{
	struct owner *owner = owner_enter(opaque);

	owner->ups += up;
	owner->downs += !up;
	owner_leave(owner);
}

static void on_connected(void *opaque)
{
	struct owner *owner = owner_enter(opaque);

	owner->connects++;
	owner_leave(owner);
}

static void on_gone(void *opaque, enum vhost_fault reason)
{
	struct owner *owner = owner_enter(opaque);

	owner->gones++;
	owner->reason = reason;
	owner_leave(owner);
}

static int on_set_mtu(void *opaque, uint16_t mtu)
{
	struct owner *owner = owner_enter(opaque);
	bool fits = mtu <= 9000;

	if (fits)
		owner->mtu = mtu;
	owner_leave(owner);
	return fits ? 0 : -EINVAL;
}

static void on_rarp(void *opaque, const uint8_t mac[6])
{
	struct owner *owner = owner_enter(opaque);

	memcpy(owner->mac, mac, 6);
	owner_leave(owner);
}

static int on_get_config(void *opaque, uint32_t offset, void *buf, uint32_t len)
{
	static const uint8_t config[8] = {0x52, 0x54, 0x00, 0x01, 0x02, 0x03, 0x01, 0x00};

	if (!range_within(offset, len, sizeof(config)))
		return -EINVAL;
	memcpy(buf, config + offset, len);
	return 0;
}

static void on_done(void *opaque)
{
	struct owner *owner = owner_enter(opaque);

	owner->dones++;
	owner_leave(owner);
}

static const struct vhost_backend_ops owner_ops = {
	.ring_start = on_ring_start,
	.ring_stop = on_ring_stop,
	.link = on_link,
	.connected = on_connected,
	.gone = on_gone,
	.set_mtu = on_set_mtu,
	.rarp = on_rarp,
	.get_config = on_get_config,
};

struct create_call {
	const struct vhost_backend_config *config;
	struct owner *owner;
	int err;
};

static void do_create(void *opaque)
{
	struct create_call *call = opaque;

	call->err = vhost_backend_create(call->config, &call->owner->be);
}

int owner_create_err(struct env *env, const struct vhost_backend_config *base,
		     struct owner **owner)
{
	struct vhost_backend_config config = *base;
	struct create_call call = { .config = &config, .owner = calloc(1, sizeof(**owner)) };

	assert_non_null(call.owner);
	pthread_mutex_init(&call.owner->lock, NULL);
	pthread_cond_init(&call.owner->changed, NULL);
	config.loop = env->loop;
	config.ops = &owner_ops;
	config.opaque = call.owner;
	config.rings = ENV_RINGS;
	assert_int_equal(loop_call(env->loop, do_create, &call), 0);
	if (call.err)
		free(call.owner);
	else
		*owner = call.owner;
	return call.err;
}

struct owner *owner_create(struct env *env, const struct vhost_backend_config *base, int *fd)
{
	struct vhost_backend_config config = *base;
	struct owner *owner = NULL;
	int pair[2];

	if (!config.path) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		config.fd = pair[0];
		*fd = pair[1];
	}
	assert_int_equal(owner_create_err(env, &config, &owner), 0);
	return owner;
}

static void do_destroy(void *opaque)
{
	struct owner *owner = opaque;

	vhost_backend_destroy(owner->be, on_done, owner);
}

void owner_start_destroy(struct env *env, struct owner *owner)
{
	assert_int_equal(loop_call(env->loop, do_destroy, owner), 0);
}

void owner_destroy(struct env *env, struct owner *owner)
{
	owner_start_destroy(env, owner);
	owner_wait(owner, owner->dones == 1);
	pthread_mutex_destroy(&owner->lock);
	pthread_cond_destroy(&owner->changed);
	free(owner);
}

struct ring_call {
	struct owner *owner;
	unsigned int a, b;
};

static void do_ack(void *opaque)
{
	struct ring_call *call = opaque;

	vhost_backend_ring_stopped(call->owner->be, call->a);
}

void owner_ack(struct env *env, struct owner *owner, unsigned int ring)
{
	struct ring_call call = { owner, ring, 0 };

	assert_int_equal(loop_call(env->loop, do_ack, &call), 0);
}

static void do_break(void *opaque)
{
	struct ring_call *call = opaque;

	vhost_backend_break(call->owner->be, (enum vhost_fault)call->a);
}

void owner_break(struct env *env, struct owner *owner, enum vhost_fault reason)
{
	struct ring_call call = { owner, reason, 0 };

	assert_int_equal(loop_call(env->loop, do_break, &call), 0);
}

static void notify(struct vhost_backend_ring *ring)
{
	uint64_t one = 1;

	if (vring_device_should_notify(&ring->vr))
		assert_int_equal(write(ring->call_fd, &one, sizeof(one)), sizeof(one));
}

/* One piece a chain is all the tests use. */
static void do_echo(void *opaque)
{
	struct ring_call *call = opaque;
	struct vhost_backend_ring *from = call->owner->rings[call->a];
	struct vhost_backend_ring *to = call->owner->rings[call->b];
	struct iovec iov[2][8];
	uint64_t addr[2][8];
	struct vring_sg sg[2] = { { iov[0], addr[0], 8, 0 }, { iov[1], addr[1], 8, 0 } };
	struct vring_chain in, out;

	call->a = 0;
	while (vring_device_pop(&from->vr, &in, 1, &sg[0]) == 1) {
		uint32_t len = 0;

		if (vring_device_pop(&to->vr, &out, 1, &sg[1]) == 1) {
			len = MIN(in.readable_len, out.writable_len);
			memcpy(out.iov[0].iov_base, in.iov[0].iov_base, len);
			vring_device_put(&to->vr, &out, len);
		}
		vring_device_put(&from->vr, &in, 0);
		call->a++;
	}
	vring_device_publish(&from->vr);
	vring_device_publish(&to->vr);
	notify(from);
	notify(to);
}

unsigned int owner_echo(struct env *env, struct owner *owner, unsigned int from, unsigned int to)
{
	struct ring_call call = { owner, from, to };

	assert_int_equal(loop_call(env->loop, do_echo, &call), 0);
	return call.a;
}
