/* The machine's members, for machine.c and machine_boot.c only. */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include "iommu/dma_space.h"
#include "vmm/board.h"
#include "vmm/device_types.h"
#include "vmm/ept.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

/* A NIC or disk, alone behind its root port. */
struct machine_slot {
	char port_id[24];
	struct pci_root_port *port;
	struct dma_space *dma;
	struct pci_device *pci;
	const struct device_type *type;
};

/* The files to boot from, kept open for resets. */
struct machine_files {
	struct boot_file kernel, initrd;
	struct boot_file modules[BOOT_MAX_MODULES];
	unsigned int module_count;
	bool has_initrd;
};

struct machine {
	struct loop *loop;		/* borrowed */
	const struct vm_config *config; /* borrowed */
	struct machine_events events;
	struct kvm_vm kvm;
	struct layout layout;
	struct guest_memory *memory;
	struct ept ept;
	struct io_bus *pio, *mmio;
	struct char_backend *console;
	struct board board;
	struct device_list devices;
	struct machine_slot slots[VM_MAX_DEVICES];
	unsigned int slot_count;
	struct machine_files files;
	struct vcpu_group *vcpus;
	uint32_t memory_properties; /* set of 1u << enum memory_property */
	bool quiesced; /* the devices are */
};

/* machine_boot.c */

must_check int machine_files_open(struct machine *m, struct machine_error *error);
void machine_files_close(struct machine *m);
/* What firmware would do: BARs, tables, kernel; fills the entry. 0 or -errno. */
must_check int machine_boot(struct machine *m, struct boot_cpu *entry,
			    struct machine_error *error);

#endif
