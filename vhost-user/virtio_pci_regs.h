/*
 * The registers of the PCI transport: what lies in BAR 0, and the window onto it in configuration
 * space. Between virtio_pci.c and virtio_pci_regs.c only. vCPU threads, lock held.
 */
#ifndef VHOST_USER_VIRTIO_PCI_REGS_H
#define VHOST_USER_VIRTIO_PCI_REGS_H

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

extern const struct io_ops virtio_pci_register_ops; /* opaque: struct virtio_pci */

/* The capability VIRTIO_PCI_CAP_PCI_CFG (virtio 1.2 §4.1.4.9). */
void virtio_pci_window_reading(struct virtio_pci *vp, uint16_t offset, unsigned int len);
void virtio_pci_window_written(struct virtio_pci *vp, uint16_t offset, unsigned int len);

/* From the registers to the life cycle. */
void virtio_pci_wake(struct virtio_pci *vp); /* the io thread looks at status again */
void virtio_pci_clear(struct virtio_pci *vp); /* the registers as after a reset; rings stopped */
void virtio_pci_clear_interrupt(struct virtio_pci *vp);

static inline void virtio_pci_guest_fault(struct virtio_pci *vp)
{
	atomic_fetch_add_explicit(&vp->counters.guest_faults, 1, memory_order_relaxed);
}

#endif
