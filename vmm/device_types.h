/*
 * The one explicit table of the NICs and disks a guest may have: for each class and mode, how its
 * configuration is read and how the device is made. What every machine has (UART, RTC, bridges)
 * is made by machine.c.
 */
#ifndef VMM_DEVICE_TYPES_H
#define VMM_DEVICE_TYPES_H

#include "core/dma.h"
#include "core/loop.h"
#include "core/memory_contract.h"
#include "core/pci.h"
#include "vmm/vm_config.h"

enum device_class { DEVICE_NIC, DEVICE_DISK };

/* What a machine lends its devices, for their life. */
struct device_host {
	struct loop *loop;
	struct hypervisor *hv;
	struct guest_memory *memory;
	struct dma *dma; /* the guest's memory as this device sees it */
};

struct device_type {
	enum device_class class;
	const char *mode;
	const char *const *keys; /* of its configuration, ends with NULL */
	enum memory_feature feature; /* what it does with guest memory; MEMORY_FEATURES: DMA by us */
	/* Pure. */
	int (*parse)(const struct config_why *why, const struct config_node *node,
		     struct device_config *config);
	/* io thread. Makes the function for pci_bus_add. 0 or -errno with a line in `why`. */
	int (*create)(const struct device_host *host, const struct device_config *config,
		      struct pci_device **pci, char *why, size_t why_size);
	/* Adds members to the device's entry in vm.info; may be NULL. io thread. */
	void (*describe)(struct pci_device *pci, json_t *info);
};

/* One element of "nics" or "disks". 0 or -EINVAL. */
must_check int device_config_parse(const struct config_why *why, const struct config_node *node,
				   enum device_class class, struct device_config *config);

/* Whether an error of `create` is about what the configuration names, not about the host. */
bool device_create_refuses(int err);

#endif
