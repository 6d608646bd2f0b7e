/*
 * A recording stand-in for KVM. Interrupts are remembered; irqfds deliver when fake_hypervisor_poll
 * looks at them (and when attached), as KVM does by itself; ioeventfds fire through
 * fake_hypervisor_io_write.
 */
#ifndef TESTS_FAKE_HYPERVISOR_H
#define TESTS_FAKE_HYPERVISOR_H

#include "core/hypervisor.h"

#define FAKE_GSIS 512u	    /* 0..23 wires, above: message routes */
#define FAKE_FIRST_ROUTE 24u
#define FAKE_MESSAGES 256u
#define FAKE_IOEVENTFDS 64u

struct fake_message {
	uint64_t addr;
	uint32_t data;
	uint16_t requester;
};

struct fake_route {
	bool used;
	struct fake_message message;
	int fd;		 /* irqfd, -1: none */
	int resample_fd; /* -1: none */
};

struct fake_hypervisor {
	struct hypervisor hv; /* hand out &fake.hv */
	bool level[FAKE_GSIS];
	unsigned int rises[FAKE_GSIS]; /* times a wire went up, or its irqfd fired */
	unsigned int falls[FAKE_GSIS];
	struct fake_route routes[FAKE_GSIS];
	struct fake_message messages[FAKE_MESSAGES]; /* in order; what does not fit only counts */
	unsigned int message_count;
	struct ioeventfd ioeventfds[FAKE_IOEVENTFDS];
	unsigned int ioeventfd_count;
	unsigned long calls; /* of any operation */
	int fail; /* < 0: every call from now on returns this */
};

void fake_hypervisor_init(struct fake_hypervisor *fake);

/* Delivers what the attached irqfds hold. Returns how many fired. */
unsigned int fake_hypervisor_poll(struct fake_hypervisor *fake);

/* A guest's write: signals the ioeventfd that claims it. false: none does. */
bool fake_hypervisor_io_write(struct fake_hypervisor *fake, bool pio, uint64_t addr,
			      unsigned int size, uint64_t value);

/* The last message, or NULL. */
const struct fake_message *fake_hypervisor_last(const struct fake_hypervisor *fake);

#endif
