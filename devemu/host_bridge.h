/*
 * Function 00:00.0 of a Q35: the memory controller hub's DRAM controller, 8086:29C0 (Intel 3 Series
 * Express Chipset data sheet §5). PAM (90h-96h) is stored; memory there is RAM in any case.
 * PCIEXBAR (60h) moves the ECAM window.
 */
#ifndef DEVEMU_HOST_BRIDGE_H
#define DEVEMU_HOST_BRIDGE_H

#include "core/pci_bus.h"

struct host_bridge;

struct host_bridge_config {
	const char *id;
	struct pci_bus *bus;	 /* bus 0 */
	gpa_t ecam_base;	 /* as firmware leaves PCIEXBAR, also after reset; 0: disabled */
	unsigned int ecam_buses; /* 64, 128 or 256 */
};

must_check int host_bridge_create(const struct host_bridge_config *config,
				  struct host_bridge **bridge);
struct device *host_bridge_device(struct host_bridge *bridge);

#endif
