/*
 * Inside the PCI transport, each on those before it: virtio_pci.c lives the rings' life and has the
 * doorbells and interrupts, virtio_pci_regs.c is what a vCPU reads and writes,
 * virtio_pci_function.c makes the whole a PCI function. Between these files only.
 */
#ifndef VHOST_USER_VIRTIO_PCI_IMPL_H
#define VHOST_USER_VIRTIO_PCI_IMPL_H

#include "vhost-user/virtio_pci.h"

#define VIRTIO_PCI_REGISTERS_BAR 0u
#define VIRTIO_PCI_MSIX_BAR 1u

/* BAR 0. Notifications have a page of their own. */
#define VIRTIO_PCI_COMMON_AT 0x0000u
#define VIRTIO_PCI_COMMON_SIZE 56u /* up to queue_device: later fields belong to features not offered */
#define VIRTIO_PCI_ISR_AT 0x1000u
#define VIRTIO_PCI_ISR_SIZE 1u
#define VIRTIO_PCI_DEVICE_AT 0x2000u
#define VIRTIO_PCI_DEVICE_MAX 0x1000u
#define VIRTIO_PCI_NOTIFY_AT 0x3000u
#define VIRTIO_PCI_NOTIFY_MULTIPLIER 4u /* bytes: one doorbell a queue */
#define VIRTIO_PCI_REGISTERS_SIZE 0x4000u

/* From the registers to the life cycle. */
void virtio_pci_wake(struct virtio_pci *vp); /* the io thread looks at status again */
void virtio_pci_clear(struct virtio_pci *vp); /* the registers as after a reset; rings stopped */
void virtio_pci_clear_interrupt(struct virtio_pci *vp);

/* From the function to the life cycle. */
/* The queues and all eventfds, watched. 0 or -ENOMEM. io thread. */
must_check int virtio_pci_init_events(struct virtio_pci *vp, uint16_t queue_size);
void virtio_pci_fini_events(struct virtio_pci *vp);
/* BAR 0 was mapped or unmapped: its doorbells follow. vCPU, lock held. */
void virtio_pci_registers_moved(struct pci_device *pci, unsigned int bar, bool mapped,
				uint64_t addr);
void virtio_pci_unmap_doorbells(struct virtio_pci *vp); /* if they are mapped */

static inline struct virtio_pci *virtio_pci_of(struct pci_device *pci)
{
	return container_of(pci, struct virtio_pci, pci);
}

static inline void virtio_pci_guest_fault(struct virtio_pci *vp)
{
	atomic_fetch_add_explicit(&vp->counters.guest_faults, 1, memory_order_relaxed);
}

#endif
