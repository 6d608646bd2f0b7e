/*
 * A machine of one virtio function for tests: memory, buses, loop and a fake hypervisor, and what
 * a guest's driver does with it. Everything happens on the test's thread; the io thread's part is
 * done within virtio_rig_run_until.
 */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include "core/guest_memory.h"
#include "core/io_bus.h"
#include "core/loop.h"
#include "core/pci_bus.h"
#include "iommu/dma_space.h"
#include "tests/fakes/fake_hypervisor.h"
#include "vhost-user/virtio_pci.h"
#include "vhost-user/vring_driver.h"

#define RIG_MEMORY (4 * MIB)
#define RIG_REGISTERS 0xe0000000u /* BAR 0 */
#define RIG_MSIX 0xe0010000u	  /* BAR 1 */
#define RIG_DEVFN PCI_DEVFN_OF(3, 0)
#define RIG_WAIT_MS 30000u

struct virtio_rig {
	struct loop *loop;
	struct guest_memory *memory;
	struct dma_space *space;
	struct io_bus *pio, *mmio;
	struct pci_bus *bus;
	struct fake_hypervisor hv;
	struct pci_device *pci; /* the function under test; destroyed with the rig */
	bool intx;
	uint64_t size;	    /* of guest memory */
	uint64_t next_free; /* of guest memory */
	unsigned int notify_off; /* of queue 0, in BAR 0 */
};

void virtio_rig_init(struct virtio_rig *rig);
void virtio_rig_init_sized(struct virtio_rig *rig, uint64_t memory); /* bytes instead of RIG_MEMORY */
void virtio_rig_fini(struct virtio_rig *rig);

/* Puts the function on the bus and maps its BARs. */
void virtio_rig_plug(struct virtio_rig *rig, struct pci_device *pci);
void virtio_rig_plug_again(struct virtio_rig *rig); /* BARs and command register, after a reset */

/* Runs the loop until done(opaque); aborts the test's wait after RIG_WAIT_MS: then false. */
bool virtio_rig_run_until(struct virtio_rig *rig, bool (*done)(void *opaque), void *opaque);
/* Runs the loop until it has seen everything that is ready now. */
void virtio_rig_settle(struct virtio_rig *rig);
/* A few turns of the loop, cheaper than settle: what is ready now, and what follows from it. */
void virtio_rig_turn(struct virtio_rig *rig);

/* Registers of the common structure, by VIRTIO_PCI_COMMON_ offsets. */
uint64_t virtio_rig_read(struct virtio_rig *rig, uint64_t offset, unsigned int size);
void virtio_rig_write(struct virtio_rig *rig, uint64_t offset, unsigned int size, uint64_t value);
uint64_t virtio_rig_config(struct virtio_rig *rig, uint64_t offset, unsigned int size);

/* Zeroed guest memory; never given back. */
gpa_t virtio_rig_alloc(struct virtio_rig *rig, uint64_t size, uint64_t align);
void *virtio_rig_ptr(struct virtio_rig *rig, gpa_t gpa);

uint64_t virtio_rig_features(struct virtio_rig *rig);
uint8_t virtio_rig_status(struct virtio_rig *rig);
/* Resets and waits, then goes as far as FEATURES_OK; whether the device kept that bit. */
bool virtio_rig_negotiate(struct virtio_rig *rig, uint64_t features);
/* Lays out a ring in guest memory and tells the device; vector: VIRTIO_MSI_NO_VECTOR or one. */
void virtio_rig_queue(struct virtio_rig *rig, unsigned int index, uint32_t size, uint16_t vector,
		      uint64_t features, struct vring_driver *vd);
void virtio_rig_driver_ok(struct virtio_rig *rig);
bool virtio_rig_reset(struct virtio_rig *rig); /* writes 0, waits until it reads 0 */

/* MSI-X on, vector n sending data n. */
void virtio_rig_msix_on(struct virtio_rig *rig);
/* Messages with this data so far. */
unsigned int virtio_rig_messages(struct virtio_rig *rig, uint32_t data);

/* Publishes and rings the doorbell if the device wants it. */
void virtio_rig_kick(struct virtio_rig *rig, unsigned int index, struct vring_driver *vd);

uint64_t virtio_rig_counter(struct virtio_rig *rig, const char *name);

#endif
