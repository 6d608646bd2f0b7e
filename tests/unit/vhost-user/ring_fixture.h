/* A ring in ring_env's memory for the tests of the device's side: its driver is written by hand. */
#ifndef TESTS_RING_FIXTURE_H
#define TESTS_RING_FIXTURE_H

#include "ring_env.h"

#define SIZE 8u
#define RING ENV_BASE
#define BUFFER (ENV_BASE + 0x4000)
#define TABLE (ENV_BASE + 0x8000)
#define IOVS 16u

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

struct fixture {
	struct ring_env env;
	struct vring_addrs addrs;
	struct vring_device_config config;
	struct vring_device vr;
	struct vring_chain chains[VRING_BURST];
	struct iovec iov[IOVS];
	uint64_t addr[IOVS];
	struct vring_sg sg;
};

int ring_setup(void **state);
int ring_teardown(void **state);
void start(struct fixture *f, uint64_t features);
void desc(struct fixture *f, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
	  uint16_t next);
/* The same in an indirect table at TABLE. */
void table(struct fixture *f, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
	   uint16_t next);
void offer(struct fixture *f, uint16_t head);
unsigned int pop(struct fixture *f, unsigned int count);

#endif
