/*
 * The modern PCI transport of virtio (virtio 1.2 §4.1), which every virtio device embeds as its
 * first member. Legacy (transitional) access is a stated non-goal.
 *
 * Threads: registers are accessed by vCPU threads with the device's lock held; the doorbells are
 * ioeventfds, no thread of ours sees them. start, stop and the rest of the life of the rings
 * belong to the io thread: a status write that starts or resets the device is passed there
 * through an eventfd, and status reads 0 only once the rings have stopped.
 *
 * Rings run only while Bus Master Enable is set: clearing it stops them with their positions kept
 * (soon, not within the write: a peer has to be asked), setting it lets them go on from there.
 *
 * The functions of struct device_ops (reset, quiesce, resume, save, load, destroy) of the
 * embedding device run on the io thread with the vCPUs paused.
 */
#ifndef VHOST_USER_VIRTIO_PCI_H
#define VHOST_USER_VIRTIO_PCI_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdatomic.h>

#include "core/loop.h"
#include "core/pci.h"
#include "core/pci_msix.h"

#define VIRTIO_PCI_MAX_QUEUES 63u /* so that each, and the configuration, may have a vector */

struct virtio_pci;

/* One virtqueue as the driver configured it. Stable from start to stop. */
struct virtio_queue {
	uint16_t index;
	uint16_t max_size; /* entries, a power of two */
	uint16_t size;
	bool enabled;
	uint64_t desc;	 /* Descriptor Area, guest physical */
	uint64_t driver; /* Driver Area: available ring */
	uint64_t device; /* Device Area: used ring */
	_Atomic uint16_t vector;
	/* Next entry of the available ring to serve at start: 0 after a reset, what the device
	 * left here when it stopped otherwise. */
	uint16_t base;
	int kick_fd; /* the doorbell: an eventfd, owned by the transport */
};

/* What the transport asks of a device. io thread, lock held, unless said. */
struct virtio_ops {
	/* The driver has set DRIVER_OK. -errno: the device needs a reset, and says so. */
	int (*start)(struct virtio_pci *vp);
	/* Stops the rings; virtio_pci_stopped is called once it is done, now or later. */
	void (*stop)(struct virtio_pci *vp);
	/* Returns when a stop begun before is done; waits a bounded time for a peer, and drops
	 * the peer if it has not answered then. */
	void (*wait_stopped)(struct virtio_pci *vp);
	/* The eventfds that virtio_pci_call_fd returns may have changed while started. May be NULL. */
	void (*calls_changed)(struct virtio_pci *vp);
	/* vCPU thread: whether the driver's choice of features makes sense together. May be NULL. */
	bool (*features_ok)(struct virtio_pci *vp, uint64_t features);
	/* Reset has finished: back to the initial device configuration. May be NULL. */
	void (*was_reset)(struct virtio_pci *vp);
};

struct virtio_pci_config {
	const char *id;
	const struct device_ops *device_ops;
	const struct virtio_ops *ops;
	struct loop *loop;
	struct hypervisor *hv;
	uint16_t device_id;  /* virtio device number: 1 network, 2 block */
	uint32_t class_code; /* of PCI */
	unsigned int queues;
	uint16_t queue_size;	 /* entries: largest the driver may choose, a power of two */
	const void *device_config; /* the device's configuration structure, read by the driver */
	unsigned int device_config_size;
};

struct virtio_pci_counters {
	_Atomic uint64_t guest_faults; /* register accesses that break the specification */
	_Atomic uint64_t resets;
	_Atomic uint64_t starts;
	_Atomic uint64_t config_interrupts;
	_Atomic uint64_t needs_reset; /* times the device gave up until the next reset */
};

struct virtio_pci {
	struct pci_device pci; /* first: the device model is a PCI function */
	const struct virtio_ops *ops;
	struct loop *loop;
	struct hypervisor *hv;
	struct pci_msix *msix;
	unsigned int queue_count;
	struct virtio_queue *queues;
	const uint8_t *device_config;
	unsigned int device_config_size;

	uint64_t features; /* offered; the device may change them while FEATURES_OK is not set */
	uint64_t acked;	   /* chosen by the driver */

	uint8_t status;
	uint8_t config_generation;
	_Atomic uint8_t isr;
	_Atomic uint16_t config_vector;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint16_t queue_select;
	uint16_t cfg_cap; /* where the PCI configuration access capability lies */

	bool started;	    /* the device's rings may run */
	bool stopping;	    /* ops->stop called, not yet stopped */
	bool reset_pending; /* the driver waits for status 0 */
	bool calls_pending; /* an interrupt vector changed */
	bool quiesced;	    /* between quiesce and resume: nothing starts */
	bool msix_enabled;  /* as last seen */
	bool can_master;    /* likewise: Bus Master Enable, without which no ring may run */
	_Atomic bool has_stopped;
	bool doorbells_mapped;
	uint64_t registers_addr; /* of BAR 0, while mapped */

	int wake_fd; /* wakes the io thread for virtio_pci_sync */
	int call_fd; /* queue interrupts while MSI-X is off: becomes ISR and INTx */
	struct loop_io *wake_io;
	struct loop_io *call_io;
	struct virtio_pci_counters counters;
};

/* For the embedding device's constructor. 0 or -errno, nothing left behind then. */
must_check int virtio_pci_init(struct virtio_pci *vp, const struct virtio_pci_config *config);
/* The rings have stopped. io thread. */
void virtio_pci_fini(struct virtio_pci *vp);

/* The device's side */

/* A stop that ops->stop asked for is done. io thread, lock held or not. */
void virtio_pci_stopped(struct virtio_pci *vp);

/* Whether the driver chose the feature (a bit number). */
static inline bool virtio_pci_has(const struct virtio_pci *vp, unsigned int feature)
{
	return vp->acked >> feature & 1;
}

/* The eventfd that interrupts the driver for this queue: its MSI-X vector's, or one that becomes
 * INTx; borrowed. -1: the driver wants no interrupt. Lock held. */
int virtio_pci_call_fd(struct virtio_pci *vp, const struct virtio_queue *queue);

/* Interrupts the driver for this queue. io thread. */
void virtio_pci_notify_queue(struct virtio_pci *vp, const struct virtio_queue *queue);

/* The configuration structure has changed: a new generation and an interrupt. Lock held. */
void virtio_pci_notify_config(struct virtio_pci *vp);

/* The device can not go on (virtio 1.2 §2.1.2): DEVICE_NEEDS_RESET. Lock held. */
void virtio_pci_needs_reset(struct virtio_pci *vp, const char *why);

/* The common part of device_ops. io thread, vCPUs paused. */

void virtio_pci_reset(struct virtio_pci *vp);  /* also stops the rings */
int virtio_pci_quiesce(struct virtio_pci *vp); /* stops the rings, keeping their positions */
int virtio_pci_resume(struct virtio_pci *vp);
void virtio_pci_emit_counters(struct virtio_pci *vp, counter_fn emit, void *opaque);

struct virtio_queue_state {
	uint64_t desc, driver, device;
	uint16_t size, vector, base;
	uint8_t enabled, reserved;
};

struct virtio_pci_state {
	struct pci_state pci;
	struct pci_msix_state msix;
	uint64_t acked;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select, config_vector;
	uint8_t status, config_generation, isr, reserved;
	struct virtio_queue_state queues[VIRTIO_PCI_MAX_QUEUES];
};

/* Quiesced. load changes nothing when it returns -EINVAL. */
void virtio_pci_save(const struct virtio_pci *vp, struct virtio_pci_state *state);
must_check int virtio_pci_load(struct virtio_pci *vp, const struct virtio_pci_state *state);

#endif
