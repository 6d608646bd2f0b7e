/*
 * A device that dies at any step, and another that takes up its ring at the used index: all a ring
 * needs whose chains are given back in the order they were taken, as those of network ports are.
 * One that gives them back as they finish, as a disk would, needs a record of what is in flight.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring_env.h"

#define SIZE 8u
#define BURST 3u
#define CHAINS 20u
#define RING (ENV_BASE + 0x1000)
#define BUFFERS (ENV_BASE + 0x8000)
#define PIECES 16u

struct pair {
	struct ring_env env;
	struct vring_driver vd;
	struct vring_device_config config;
	struct vring_device vr;
	unsigned int offered, returned;
	unsigned int served[CHAINS]; /* times the device has done what the chain asks */
	unsigned int back[CHAINS];   /* times the driver got it back */
};

static void pair_init(struct pair *p, uint64_t features)
{
	memset(p, 0, sizeof(*p));
	ring_env_init(&p->env);
	assert_int_equal(vring_driver_init(&p->vd, SIZE, ring_env_ptr(&p->env, RING), RING,
					   features), 0);
	p->config = (struct vring_device_config){
		.dma = &p->env.dma,
		.size = SIZE,
		.base = VRING_BASE_FROM_USED,
		.used_addr = p->vd.addrs.used,
		.features = features,
	};
	assert_int_equal(vring_device_map(&p->env.dma, SIZE, &p->vd.addrs, &p->config.parts),
			 VHOST_FAULT_NONE);
	vring_device_start(&p->vr, &p->config);
}

static void pair_fini(struct pair *p)
{
	vring_driver_fini(&p->vd);
	ring_env_fini(&p->env);
}

static void take_back(struct pair *p)
{
	uint32_t written;
	void *token;

	while (vring_driver_get_used(&p->vd, &token, &written)) {
		unsigned int number = (unsigned int)((uintptr_t)token - 1);

		p->back[number]++;
		p->returned++;
	}
}

/* Takes back what came, and offers what fits. Its number is in each chain. */
static void drive(struct pair *p)
{
	take_back(p);
	while (p->offered < CHAINS) {
		struct vring_buf buf = {BUFFERS + p->offered * 16, 4};

		memcpy(ring_env_ptr(&p->env, buf.addr), &p->offered, 4);
		if (vring_driver_add(&p->vd, &buf, 1, 0, (void *)(uintptr_t)(p->offered + 1)))
			break;
		p->offered++;
	}
	vring_driver_publish(&p->vd);
}

static void serve(struct pair *p, const struct vring_chain *chain)
{
	uint32_t number;

	memcpy(&number, chain->iov[0].iov_base, 4);
	assert_true(number < CHAINS);
	p->served[number]++;
}

/* A burst as the switch does it, or as much of it as there are steps left. False: it has died. */
static bool burst(struct pair *p, unsigned int *steps)
{
	struct vring_chain chains[BURST];
	struct iovec iov[PIECES];
	uint64_t addr[PIECES];
	struct vring_sg sg = {.iov = iov, .addr = addr, .capacity = PIECES};
	unsigned int n = vring_device_pop(&p->vr, chains, BURST, &sg);

	for (unsigned int i = 0; i < n; i++) {
		if (!(*steps)--)
			return false;
		serve(p, &chains[i]);
	}
	for (unsigned int i = 0; i < n; i++) {
		if (!(*steps)--)
			return false;
		vring_device_put(&p->vr, &chains[i], 0);
	}
	if (!(*steps)--)
		return false;
	vring_device_publish(&p->vr);
	return true;
}

/* True: all was served before it was to die. */
static bool die_after(struct pair *p, unsigned int steps)
{
	while (p->returned < CHAINS) {
		drive(p);
		if (!burst(p, &steps))
			return false;
		drive(p);
	}
	return true;
}

static void in_order_the_used_index_is_enough(void **state)
{
	const uint64_t kinds[] = {0, 1ull << VIRTIO_RING_F_EVENT_IDX};
	bool through = false;
	struct pair p;

	for (unsigned int at = 0; !through; at++) {
		unsigned int repeated = 0;

		pair_init(&p, kinds[at % 2]);
		through = die_after(&p, at);
		vring_device_start(&p.vr, &p.config);
		assert_true(die_after(&p, UINT32_MAX));
		assert_int_equal(p.vd.fault, VHOST_FAULT_NONE);
		for (unsigned int i = 0; i < CHAINS; i++) {
			assert_int_equal(p.back[i], 1);
			assert_in_range(p.served[i], 1, 2);
			repeated += p.served[i] - 1;
		}
		assert_in_range(repeated, 0, BURST);
		pair_fini(&p);
	}
}

/* It finishes the second of two first, and dies before the other. */
static void out_of_order_it_is_not(void **state)
{
	struct vring_chain chains[2];
	struct iovec iov[PIECES];
	uint64_t addr[PIECES];
	struct vring_sg sg = {.iov = iov, .addr = addr, .capacity = PIECES};
	unsigned int steps = UINT32_MAX;
	struct pair p;

	pair_init(&p, 0);
	drive(&p);
	assert_int_equal(vring_device_pop(&p.vr, chains, 2, &sg), 2);
	serve(&p, &chains[1]);
	vring_device_put(&p.vr, &chains[1], 0);
	vring_device_publish(&p.vr);
	take_back(&p);
	assert_int_equal(p.back[1], 1);
	vring_device_start(&p.vr, &p.config);
	assert_true(burst(&p, &steps));
	take_back(&p);
	/* The first is passed over for ever, and the second comes back once more. */
	assert_int_equal(p.served[0], 0);
	assert_int_equal(p.served[1], 2);
	assert_int_equal(p.vd.fault, VHOST_FAULT_RING_USED_ID);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_the_used_index_is_enough),
		cmocka_unit_test(out_of_order_it_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
