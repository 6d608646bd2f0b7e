/*
 * Every PCI function of the host, as sysfs has it at this moment; nothing is changed and no device is
 * asked. What a function has no word for is empty, -1 or false. Any thread; the caller owns the
 * inventory.
 */
#ifndef VFIO_PCI_INVENTORY_H
#define VFIO_PCI_INVENTORY_H

#include "vfio/sysfs.h"

#define PCI_MAX_FUNCTIONS 1024u
#define PCI_MAX_MEMBERS 16u    /* named of one IOMMU group */
#define PCI_MAX_INTERFACES 4u  /* named of one function */
#define PCI_BDF_SIZE 16u       /* "10000:e1:00.0" */
#define PCI_NAME_SIZE 64u
#define PCI_DRIVER_SIZE 32u

struct pci_interface {
	char name[16];
	char mac[18];
	char state[16];	    /* operstate: "up", "down", ... */
	int carrier;	    /* 0 or 1; -1: it is not up, so nobody knows */
	int64_t speed_mbps; /* -1: unknown */
};

struct pci_member {
	char name[PCI_DRIVER_SIZE]; /* a BDF, or what else the kernel calls a device */
	char driver[PCI_DRIVER_SIZE];
};

struct pci_function {
	char bdf[PCI_BDF_SIZE];
	uint64_t address; /* domain << 16 | bus << 8 | device << 3 | function */
	uint16_t vendor, device;
	uint32_t class_code; /* 24 bits, PCI 3.0 6.2.1 */
	char vendor_name[PCI_NAME_SIZE], device_name[PCI_NAME_SIZE], class_name[PCI_NAME_SIZE];
	char driver[PCI_DRIVER_SIZE];
	int numa_node;

	int iommu_group;
	unsigned int group_devices; /* all of the group, this one included */
	struct pci_member others[PCI_MAX_MEMBERS]; /* without this one */
	unsigned int n_others;

	/* A PF (SR-IOV 1.1, 3.3): */
	bool is_pf;
	unsigned int total_vfs, num_vfs;
	int vf_offset, vf_stride, vf_device;
	/* A VF: */
	bool is_vf;
	char pf[PCI_BDF_SIZE];
	int vf_index; /* -1: its PF does not count it */

	/* pci_uses_read fills these: */
	struct pci_interface interfaces[PCI_MAX_INTERFACES];
	unsigned int n_interfaces;

	bool default_route; /* of the host's main table goes through it */
	bool root_disk;	    /* the file system of / is on or beneath it */
};

struct pci_inventory {
	struct pci_function *functions; /* by address */
	unsigned int count;
	bool truncated; /* the host has more */
};

/* "0000:01:10.3" as the kernel writes it, and nothing else. -EINVAL. */
must_check int pci_parse_bdf(const char *text, uint64_t *address);

/* -ENOMEM, or 0; a host without PCI has none. Given back by pci_inventory_release. */
must_check int pci_inventory_read(const struct host_roots *roots, struct pci_inventory *inventory);
void pci_inventory_release(struct pci_inventory *inventory);

struct pci_function *pci_inventory_find(const struct pci_inventory *inventory, uint64_t address);

/*
 * Whether VFIO would take the function's group once the function itself is bound to vfio-pci: all its
 * other members are bound to vfio drivers, harmless ones, or none (drivers/vfio/group.c). NULL: yes;
 * else the first in the way.
 */
const struct pci_member *pci_group_blocker(const struct pci_function *function);

#endif
