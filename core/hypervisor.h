/*
 * What KVM must supply to the devices. vmm/ implements it on KVM, tests with a recording fake
 * (tests/fakes/fake_hypervisor.h). Any thread unless said; none of the calls blocks.
 */
#ifndef CORE_HYPERVISOR_H
#define CORE_HYPERVISOR_H

#include "core/bits.h"

struct hypervisor;

struct ioeventfd {
	bool pio;
	uint64_t addr;
	unsigned int size;  /* bytes: 1, 2, 4, 8; 0: any (MMIO) */
	bool match;	    /* only writes of `value` */
	uint64_t value;
	int fd;
};

struct hypervisor_ops {
	/* Level of a GSI (IOAPIC pin, and PIC below 16). */
	int (*irq_set)(struct hypervisor *hv, uint32_t gsi, bool level);
	/* One message-signalled interrupt now. */
	int (*msi_send)(struct hypervisor *hv, uint64_t addr, uint32_t data, uint16_t requester);
	/* A GSI routed to a message; gsi < 0 asks for a new one. Returns the GSI or -errno. */
	int (*msi_route_set)(struct hypervisor *hv, int gsi, uint64_t addr, uint32_t data,
			     uint16_t requester);
	void (*msi_route_free)(struct hypervisor *hv, int gsi);
	/* fd raises gsi; resample_fd >= 0: level-triggered, signalled at end of interrupt. */
	int (*irqfd_attach)(struct hypervisor *hv, int gsi, int fd, int resample_fd);
	int (*irqfd_detach)(struct hypervisor *hv, int gsi, int fd);
	int (*ioeventfd_attach)(struct hypervisor *hv, const struct ioeventfd *io);
	int (*ioeventfd_detach)(struct hypervisor *hv, const struct ioeventfd *io);
};

struct hypervisor {
	const struct hypervisor_ops *ops;
};

#endif
