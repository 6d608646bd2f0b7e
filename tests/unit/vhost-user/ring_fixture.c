#include "ring_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>


void start(struct fixture *f, uint64_t features)
{
	f->config.features = features;
	vring_device_start(&f->vr, &f->config);
}

int ring_setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	ring_env_init(&f->env);
	vring_block_layout(SIZE, &f->addrs);
	f->addrs.desc += RING;
	f->addrs.avail += RING;
	f->addrs.used += RING;
	f->config = (struct vring_device_config){
		.dma = &f->env.dma,
		.size = SIZE,
		.used_addr = f->addrs.used,
	};
	assert_int_equal(vring_device_map(&f->env.dma, SIZE, &f->addrs, &f->config.parts),
			 VHOST_FAULT_NONE);
	f->sg = (struct vring_sg){ .iov = f->iov, .addr = f->addr, .capacity = IOVS };
	start(f, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
	*state = f;
	return 0;
}

int ring_teardown(void **state)
{
	struct fixture *f = *state;

	ring_env_fini(&f->env);
	test_free(f);
	return 0;
}

void desc(struct fixture *f, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
	  uint16_t next)
{
	f->config.parts.desc[i] = (struct vring_desc){ addr, len, flags, next };
}

void table(struct fixture *f, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
	   uint16_t next)
{
	struct vring_desc *t = ring_env_ptr(&f->env, TABLE);

	t[i] = (struct vring_desc){ addr, len, flags, next };
}

void offer(struct fixture *f, uint16_t head)
{
	struct vring_avail *avail = f->config.parts.avail;

	avail->ring[avail->idx % SIZE] = head;
	avail->idx++;
}

unsigned int pop(struct fixture *f, unsigned int count)
{
	return vring_device_pop(&f->vr, f->chains, count, &f->sg);
}
