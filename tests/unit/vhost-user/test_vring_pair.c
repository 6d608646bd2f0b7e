/*
 * Driver against device: random chains through a ring of every small size, with and without
 * indirect tables and the event index, wrapping the indices several times. Every chain comes back
 * once, with what the device wrote, and nobody waits for a kick or an interrupt that is not coming.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "ring_env.h"

#define MAX_PIECES 6u
#define SLOT 256u /* bytes of buffer a piece may have */
#define BUFFERS (ENV_BASE + 0x10000)
#define TABLES (ENV_SEAM - 0x20000)
#define IOVS 64u

struct request {
	bool busy;
	uint32_t number;
	unsigned int out, in;
	struct vring_buf bufs[MAX_PIECES];
};

struct pair {
	struct ring_env env;
	struct vring_driver vd;
	struct vring_device vr;
	struct request *requests; /* one a descriptor: at most that many chains are under way */
	uint32_t size;
	uint32_t seed;
	uint32_t sent, received;
	bool kicked, interrupted;
};

static uint32_t draw(struct pair *p, uint32_t below)
{
	p->seed = p->seed * 1664525u + 1013904223u;
	return (p->seed >> 8) % below;
}

static void fill(struct pair *p, const struct vring_buf *buf, uint8_t value)
{
	for (uint32_t i = 0; i < buf->len; i++)
		*(uint8_t *)ring_env_ptr(&p->env, buf->addr + i) = value;
}

static struct request *request_free(struct pair *p)
{
	for (uint32_t i = 0; i < p->size; i++)
		if (!p->requests[i].busy)
			return &p->requests[i];
	return NULL;
}

static bool driver_send(struct pair *p, bool indirect)
{
	struct request *r = request_free(p);
	size_t at = r ? (size_t)(r - p->requests) : 0;
	uint64_t table = TABLES + at * MAX_PIECES * 16;
	int err;

	if (!r)
		return false;
	r->out = draw(p, MAX_PIECES);
	r->in = draw(p, MAX_PIECES - r->out) + (r->out == 0);
	for (unsigned int i = 0; i < r->out + r->in; i++) {
		r->bufs[i].addr = BUFFERS + (at * MAX_PIECES + i) * SLOT;
		r->bufs[i].len = draw(p, SLOT) + 1;
		fill(p, &r->bufs[i], i < r->out ? (uint8_t)p->sent : 0xee);
	}
	if (indirect)
		err = vring_driver_add_indirect(&p->vd, r->bufs, r->out, r->in, r,
						ring_env_ptr(&p->env, table), table);
	else
		err = vring_driver_add(&p->vd, r->bufs, r->out, r->in, r);
	if (err)
		return false;
	r->busy = true;
	r->number = p->sent++;
	return true;
}

static void driver_receive(struct pair *p)
{
	uint32_t written;
	void *token;

	while (vring_driver_get_used(&p->vd, &token, &written)) {
		struct request *r = token;
		uint32_t expected = 0;

		assert_true(r->busy);
		for (unsigned int i = r->out; i < r->out + r->in; i++) {
			for (uint32_t b = 0; b < r->bufs[i].len; b++)
				assert_int_equal(*(uint8_t *)ring_env_ptr(&p->env,
									  r->bufs[i].addr + b),
						 (uint8_t)~r->number);
			expected += r->bufs[i].len;
		}
		assert_int_equal(written, expected);
		r->busy = false;
		p->received++;
	}
	assert_int_equal(p->vd.fault, VHOST_FAULT_NONE);
}

static void device_answer(struct vring_chain *chain, uint8_t number)
{
	for (unsigned int i = 0; i < chain->readable; i++)
		for (size_t b = 0; b < chain->iov[i].iov_len; b++)
			assert_int_equal(((uint8_t *)chain->iov[i].iov_base)[b], number);
	for (unsigned int i = 0; i < chain->writable; i++)
		memset(chain->iov[chain->readable + i].iov_base, (uint8_t)~number,
		       chain->iov[chain->readable + i].iov_len);
}

static void device_work(struct pair *p, uint32_t *number)
{
	struct vring_chain chains[VRING_BURST];
	struct iovec iov[IOVS];
	uint64_t addr[IOVS];
	struct vring_sg sg = { .iov = iov, .addr = addr, .capacity = IOVS };
	unsigned int n = vring_device_pop(&p->vr, chains, draw(p, VRING_BURST) + 1, &sg);
	unsigned int back = n ? draw(p, n + 1) : 0;

	vring_device_unpop(&p->vr, back);
	for (unsigned int i = 0; i < n - back; i++) {
		device_answer(&chains[i], (uint8_t)(*number)++);
		vring_device_put(&p->vr, &chains[i], chains[i].writable_len);
	}
	vring_device_publish(&p->vr);
	if (vring_device_should_notify(&p->vr))
		p->interrupted = true;
	assert_int_equal(p->vr.fault, VHOST_FAULT_NONE);
}

/* The device sleeps until it is kicked, the driver until it is interrupted. */
static void run(struct pair *p, uint64_t features, uint32_t chains)
{
	uint32_t number = 0;
	bool device_sleeps = false, driver_sleeps = false;

	while (p->received < chains) {
		unsigned int burst = draw(p, p->size + 1);

		while (burst-- && p->sent < chains &&
		       driver_send(p, features >> VIRTIO_RING_F_INDIRECT_DESC & 1 && draw(p, 2)))
			driver_sleeps = false;
		vring_driver_publish(&p->vd);
		if (vring_driver_should_kick(&p->vd))
			p->kicked = true;
		if (!device_sleeps || p->kicked) {
			p->kicked = false;
			vring_device_kicks_disable(&p->vr);
			device_work(p, &number);
			device_sleeps = draw(p, 2) && !vring_device_kicks_enable(&p->vr);
		}
		if (!driver_sleeps || p->interrupted) {
			p->interrupted = false;
			vring_driver_interrupts_disable(&p->vd);
			driver_receive(p);
			driver_sleeps = draw(p, 2) && !vring_driver_interrupts_enable(&p->vd);
		}
		/* Both asleep with work to do would be a lost kick or interrupt. */
		assert_false(device_sleeps && !p->kicked && vring_device_available(&p->vr));
		assert_false(driver_sleeps && !p->interrupted &&
			     p->vd.parts.used->idx != p->vd.next_used);
	}
	assert_int_equal(p->sent, chains);
	assert_int_equal(p->vd.free_count, p->size);
}

static void run_one(uint32_t size, uint64_t features, uint32_t seed, uint32_t chains)
{
	struct pair p = { .size = size, .seed = seed };
	struct vring_device_config config = { .dma = &p.env.dma, .size = size, .features = features };

	ring_env_init(&p.env);
	p.requests = calloc(size, sizeof(*p.requests));
	assert_non_null(p.requests);
	assert_int_equal(vring_driver_init(&p.vd, size, p.env.half[0], ENV_BASE, features), 0);
	assert_int_equal(vring_device_map(&p.env.dma, size, &p.vd.addrs, &config.parts), 0);
	vring_device_start(&p.vr, &config);
	run(&p, features, chains);
	vring_driver_fini(&p.vd);
	free(p.requests);
	ring_env_fini(&p.env);
}

static void random_chains_come_back(void **state)
{
	for (uint32_t size = 8; size <= 128; size *= 2)
		for (uint64_t set = 0; set < 4; set++)
			run_one(size,
				(set & 1) << VIRTIO_RING_F_INDIRECT_DESC |
					(set >> 1) << VIRTIO_RING_F_EVENT_IDX,
				(uint32_t)(size + set), 3000);
}

static void the_indices_wrap(void **state)
{
	run_one(16, 1ull << VIRTIO_RING_F_EVENT_IDX, 99, 140000);
	run_one(16, 0, 98, 70000);
}

static void the_driver_keeps_to_its_descriptors(void **state)
{
	struct ring_env env;
	struct vring_driver vd;
	struct vring_buf bufs[5] = { { BUFFERS, 1 } };

	ring_env_init(&env);
	assert_int_equal(vring_driver_init(&vd, 3, env.half[0], ENV_BASE, 0), -22);
	assert_int_equal(vring_driver_init(&vd, 4, env.half[0], ENV_BASE, 0), 0);
	assert_int_equal(vring_driver_add(&vd, bufs, 0, 0, NULL), -22);
	assert_int_equal(vring_driver_add(&vd, bufs, 5, 0, NULL), -28);
	assert_int_equal(vring_driver_add(&vd, bufs, UINT32_MAX, 2, NULL), -28);
	assert_int_equal(vring_driver_add(&vd, bufs, 2, 1, NULL), 0);
	assert_int_equal(vring_driver_add(&vd, bufs, 2, 0, NULL), -28);
	assert_int_equal(vring_driver_add(&vd, bufs, 1, 0, NULL), 0);
	vring_driver_fini(&vd);
	ring_env_fini(&env);
}

static void a_lying_device_is_found_out(void **state)
{
	static const struct {
		uint16_t idx;
		uint32_t id;
		enum vhost_fault fault;
	} lies[] = {
		{ 2, 0, VHOST_FAULT_RING_USED_IDX },
		{ 0xffff, 0, VHOST_FAULT_RING_USED_IDX },
		{ 1, 4, VHOST_FAULT_RING_USED_ID },
		{ 1, UINT32_MAX, VHOST_FAULT_RING_USED_ID },
		{ 1, 1, VHOST_FAULT_RING_USED_ID }, /* in the table, but not a head */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(lies); i++) {
		struct ring_env env;
		struct vring_driver vd;
		struct vring_buf bufs[2] = { { BUFFERS, 1 }, { BUFFERS, 1 } };
		uint32_t written;
		void *token;

		ring_env_init(&env);
		assert_int_equal(vring_driver_init(&vd, 4, env.half[0], ENV_BASE, 0), 0);
		assert_int_equal(vring_driver_add(&vd, bufs, 2, 0, NULL), 0);
		vring_driver_publish(&vd);
		vd.parts.used->ring[0].id = lies[i].id;
		vd.parts.used->idx = lies[i].idx;
		assert_false(vring_driver_get_used(&vd, &token, &written));
		assert_int_equal(vd.fault, lies[i].fault);
		vring_driver_fini(&vd);
		ring_env_fini(&env);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_chains_come_back),
		cmocka_unit_test(the_indices_wrap),
		cmocka_unit_test(the_driver_keeps_to_its_descriptors),
		cmocka_unit_test(a_lying_device_is_found_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
