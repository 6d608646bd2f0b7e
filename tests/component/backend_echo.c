/*
 * A vhost-user device that sends every frame back where it came from, losing none: the back end
 * with the smallest possible owner, for foreign front ends to be tried against.
 *
 * usage: backend_echo SOCKET [unsealed] [client]
 * Prints "listening"; on SIGUSR1 and on SIGTERM, which ends it, one line of JSON: frames, sessions,
 * rings started, and the faults by name.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/vhost_backend.h"

#define PAIRS 2u
#define RINGS (2 * PAIRS)
#define IOVS 256u
/* Where struct virtio_net_hdr_v1 has num_buffers. */
#define NUM_BUFFERS_OFFSET offsetof(struct virtio_net_hdr_v1, num_buffers)

struct echo {
	struct loop *loop;
	struct loop_signal *term, *report;
	struct vhost_backend *be;
	struct vhost_backend_ring *rings[RINGS];
	struct loop_io *kicks[RINGS];
	uint64_t frames, sessions, starts;
};

/* Copies the bytes of one chain's readable pieces into the other's writable ones. */
static uint32_t copy(const struct vring_chain *from, const struct vring_chain *to)
{
	const struct iovec *in = from->iov, *out = to->iov + to->readable;
	const struct iovec *in_end = in + from->readable, *out_end = out + to->writable;
	size_t in_at = 0, out_at = 0;
	uint32_t total = 0;

	while (in < in_end && out < out_end) {
		size_t n = MIN(in->iov_len - in_at, out->iov_len - out_at);

		memcpy((char *)out->iov_base + out_at, (char *)in->iov_base + in_at, n);
		total += (uint32_t)n;
		in_at += n;
		out_at += n;
		if (in_at == in->iov_len) {
			in++;
			in_at = 0;
		}
		if (out_at == out->iov_len) {
			out++;
			out_at = 0;
		}
	}
	return total;
}

static void notify(struct vhost_backend_ring *ring)
{
	uint64_t one = 1;
	ssize_t n;

	if (vring_device_should_notify(&ring->vr)) {
		n = write(ring->call_fd, &one, sizeof(one));
		(void)n;
	}
}

/* One frame from the guest's ring `tx` to its ring `rx`. False: nothing to send, or no room. */
static bool echo_one(struct echo *echo, struct vhost_backend_ring *tx, struct vhost_backend_ring *rx)
{
	struct iovec iov[2][IOVS];
	uint64_t addr[2][IOVS];
	struct vring_sg sg[2] = { { iov[0], addr[0], IOVS, 0 }, { iov[1], addr[1], IOVS, 0 } };
	struct vring_chain frame, buffer;
	uint32_t len;

	if (!vring_device_pop(&tx->vr, &frame, 1, &sg[0]))
		return false;
	if (!vring_device_pop(&rx->vr, &buffer, 1, &sg[1])) {
		vring_device_unpop(&tx->vr, 1);
		return false;
	}
	len = copy(&frame, &buffer);
	if (buffer.writable && buffer.iov[buffer.readable].iov_len > NUM_BUFFERS_OFFSET + 2)
		put_le16((char *)buffer.iov[buffer.readable].iov_base + NUM_BUFFERS_OFFSET, 1);
	vring_device_put(&rx->vr, &buffer, len);
	vring_device_put(&tx->vr, &frame, 0);
	echo->frames++;
	return true;
}

static void echo_pair(struct echo *echo, unsigned int pair)
{
	struct vhost_backend_ring *rx = echo->rings[2 * pair], *tx = echo->rings[2 * pair + 1];
	enum vhost_fault fault;
	bool rx_more, tx_more;

	if (!rx || !tx)
		return;
	do {
		while (echo_one(echo, tx, rx))
			;
		vring_device_publish(&rx->vr);
		vring_device_publish(&tx->vr);
		notify(rx);
		notify(tx);
		/* Both ask for a kick, whatever the other has; go on only if both have more. */
		rx_more = vring_device_kicks_enable(&rx->vr);
		tx_more = vring_device_kicks_enable(&tx->vr);
	} while (rx_more && tx_more);
	fault = rx->vr.fault ? rx->vr.fault : tx->vr.fault;
	if (fault)
		vhost_backend_break(echo->be, fault);
}

static void on_kick(void *opaque, int fd, unsigned int events)
{
	for (unsigned int i = 0; i < PAIRS; i++)
		echo_pair(opaque, i);
}

static void on_ring_start(void *opaque, unsigned int index, struct vhost_backend_ring *ring)
{
	struct echo *echo = opaque;

	echo->rings[index] = ring;
	echo->starts++;
	if (ring->kick_fd >= 0)
		echo->kicks[index] = loop_io_add(echo->loop, ring->kick_fd, LOOP_READ | LOOP_EDGE,
						 on_kick, echo);
	echo_pair(echo, index / 2);
}

static void on_ring_stop(void *opaque, unsigned int index)
{
	struct echo *echo = opaque;

	loop_io_remove(echo->kicks[index]);
	echo->kicks[index] = NULL;
	echo->rings[index] = NULL;
	vhost_backend_ring_stopped(echo->be, index);
}

static void on_connected(void *opaque)
{
	((struct echo *)opaque)->sessions++;
}

static int on_set_mtu(void *opaque, uint16_t mtu)
{
	return mtu <= 9000 ? 0 : -EINVAL;
}

static void on_rarp(void *opaque, const uint8_t mac[6])
{
}

static const struct vhost_backend_ops echo_ops = {
	.ring_start = on_ring_start,
	.ring_stop = on_ring_stop,
	.connected = on_connected,
	.set_mtu = on_set_mtu,
	.rarp = on_rarp,
};

static void on_report(void *opaque)
{
	struct echo *echo = opaque;

	printf("{\"frames\": %llu, \"sessions\": %llu, \"starts\": %llu, \"faults\": {",
	       (unsigned long long)echo->frames, (unsigned long long)echo->sessions,
	       (unsigned long long)echo->starts);
	for (unsigned int i = 0, n = 0; i < VHOST_FAULT_COUNT; i++) {
		uint64_t count = vhost_backend_fault_count(echo->be, (enum vhost_fault)i);

		if (count)
			printf("%s\"%s\": %llu", n++ ? ", " : "", vhost_fault_name((enum vhost_fault)i),
			       (unsigned long long)count);
	}
	printf("}}\n");
	fflush(stdout);
}

static void on_term(void *opaque)
{
	on_report(opaque);
	loop_stop(((struct echo *)opaque)->loop);
}

static int run(struct echo *echo, struct vhost_backend_config *config)
{
	int err = -ENOMEM;

	echo->term = loop_signal_add(echo->loop, SIGTERM, on_term, echo);
	echo->report = loop_signal_add(echo->loop, SIGUSR1, on_report, echo);
	if (echo->term && echo->report)
		err = vhost_backend_create(config, &echo->be);
	if (err) {
		fprintf(stderr, "backend_echo: %s: %s\n", config->path, strerror(-err));
	} else {
		printf("listening\n");
		fflush(stdout);
		err = loop_run(echo->loop);
		vhost_backend_destroy(echo->be, NULL, NULL);
	}
	loop_signal_remove(echo->term);
	loop_signal_remove(echo->report);
	return err;
}

int main(int argc, char **argv)
{
	struct echo echo = { .loop = loop_create() };
	struct vhost_backend_config config = {
		.loop = echo.loop,
		.role = VHOST_BACKEND_SERVER,
		.path = argv[1],
		.mode = 0600,
		.features = 1ull << VIRTIO_NET_F_MRG_RXBUF | 1ull << VIRTIO_NET_F_MQ |
			    1ull << VIRTIO_NET_F_STATUS | 1ull << VIRTIO_NET_F_CTRL_VQ,
		.rings = RINGS,
		.ops = &echo_ops,
		.opaque = &echo,
	};
	int err;

	log_init("backend_echo", LOG_LEVEL_DEBUG);
	if (argc < 2 || !echo.loop) {
		fprintf(stderr, "usage: backend_echo SOCKET [unsealed] [client]\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		config.allow_unsealed |= !strcmp(argv[i], "unsealed");
		if (!strcmp(argv[i], "client"))
			config.role = VHOST_BACKEND_CLIENT;
	}
	err = run(&echo, &config);
	loop_destroy(echo.loop);
	return err ? 1 : 0;
}
