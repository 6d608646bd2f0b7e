/*
 * What makes a virtio device a PCI function: its configuration space, its BARs, and
 * its beginning and end.
 */
#include <errno.h>

#include "core/pci_bus.h"
#include "vhost-user/virtio_pci_regs.h"

#define PCI_VENDOR_VIRTIO 0x1af4u
#define PCI_DEVICE_VIRTIO_BASE 0x1040u /* plus the virtio device number: §4.1.2.1 */
#define PCI_SUBSYSTEM_OURS 0x1100u
#define MSIX_PBA_AT 0x800u
#define MSIX_BAR_SIZE 0x1000u

/* Configuration space */

static void config_reading(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	virtio_pci_window_reading(virtio_pci_of(pci), offset, len);
}

static void config_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	struct virtio_pci *vp = virtio_pci_of(pci);

	pci_msix_config_written(vp->msix, offset, len);
	if (pci_msix_enabled(vp->msix) != vp->msix_enabled) {
		vp->msix_enabled = !vp->msix_enabled;
		vp->isr = 0;
		virtio_pci_clear_interrupt(vp);
		vp->calls_pending = true;
		virtio_pci_wake(vp);
	}
	if (pci_device_can_master(pci) != vp->can_master) {
		vp->can_master = !vp->can_master;
		virtio_pci_wake(vp);
	}
	virtio_pci_window_written(vp, offset, len);
}

static int add_vendor_cap(struct virtio_pci *vp, uint8_t type, uint8_t len, uint32_t at,
			  uint32_t size, uint16_t *cap)
{
	uint8_t *p;

	*cap = pci_device_add_cap(&vp->pci, PCI_CAP_ID_VNDR, len);
	if (!*cap)
		return -ENOSPC;
	p = vp->pci.config + *cap;
	p[VIRTIO_PCI_CAP_LEN] = len;
	p[VIRTIO_PCI_CAP_CFG_TYPE] = type;
	p[VIRTIO_PCI_CAP_BAR] = VIRTIO_PCI_REGISTERS_BAR;
	put_le32(p + VIRTIO_PCI_CAP_OFFSET, at);
	put_le32(p + VIRTIO_PCI_CAP_LENGTH, size);
	return 0;
}

static int add_caps(struct virtio_pci *vp)
{
	const uint8_t len = sizeof(struct virtio_pci_cap);
	uint16_t cap;
	int err;

	err = add_vendor_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, len, VIRTIO_PCI_COMMON_AT,
			     VIRTIO_PCI_COMMON_SIZE, &cap);
	if (!err)
		err = add_vendor_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, len + 4, VIRTIO_PCI_NOTIFY_AT,
				     VIRTIO_PCI_NOTIFY_MULTIPLIER * vp->queue_count, &cap);
	if (!err)
		put_le32(vp->pci.config + cap + VIRTIO_PCI_NOTIFY_CAP_MULT,
			 VIRTIO_PCI_NOTIFY_MULTIPLIER);
	if (!err)
		err = add_vendor_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, len, VIRTIO_PCI_ISR_AT,
				     VIRTIO_PCI_ISR_SIZE, &cap);
	if (!err)
		err = add_vendor_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, len, VIRTIO_PCI_DEVICE_AT,
				     vp->device_config_size, &cap);
	if (!err)
		err = add_vendor_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, len + 4, 0, 0, &vp->cfg_cap);
	if (err)
		return err;
	vp->pci.wmask[vp->cfg_cap + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(vp->pci.wmask + vp->cfg_cap + VIRTIO_PCI_CAP_OFFSET, 0xff, 12);
	return 0;
}

static uint64_t msix_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct virtio_pci *vp = opaque;

	return pci_msix_claims(vp->msix, offset) ? pci_msix_read(vp->msix, offset, size) : 0;
}

static void msix_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *vp = opaque;

	if (pci_msix_claims(vp->msix, offset))
		pci_msix_write(vp->msix, offset, size, value);
	else
		virtio_pci_guest_fault(vp);
}

static const struct io_ops msix_ops = {
	.read = msix_read,
	.write = msix_write,
};

static int init_function(struct virtio_pci *vp, const struct virtio_pci_config *config)
{
	const struct pci_id id = {
		.vendor = PCI_VENDOR_VIRTIO,
		.device = (uint16_t)(PCI_DEVICE_VIRTIO_BASE + config->device_id),
		.subsystem_vendor = PCI_VENDOR_VIRTIO,
		.subsystem = PCI_SUBSYSTEM_OURS,
		.class_code = config->class_code,
		.revision = 1, /* §4.1.2.1: non-transitional */
	};
	int err;

	pci_device_init(&vp->pci, &id);
	pci_device_set_bar(&vp->pci, VIRTIO_PCI_REGISTERS_BAR, VIRTIO_PCI_REGISTERS_SIZE, false,
			   false, false, &virtio_pci_register_ops, vp);
	vp->pci.bars[VIRTIO_PCI_REGISTERS_BAR].changed = virtio_pci_registers_moved;
	pci_device_set_bar(&vp->pci, VIRTIO_PCI_MSIX_BAR, MSIX_BAR_SIZE, false, false, false,
			   &msix_ops, vp);
	pci_device_set_pin(&vp->pci, 1);
	err = pci_msix_create(&vp->pci, vp->hv, vp->queue_count + 1, VIRTIO_PCI_MSIX_BAR, 0,
			      MSIX_PBA_AT, &vp->msix);
	if (err)
		return err;
	err = add_caps(vp);
	if (err) {
		pci_msix_destroy(vp->msix);
		return err;
	}
	vp->pci.config_reading = config_reading;
	vp->pci.config_written = config_written;
	return 0;
}

/* Beginning and end */

int virtio_pci_init(struct virtio_pci *vp, const struct virtio_pci_config *config)
{
	int err;

	memset(vp, 0, sizeof(*vp));
	if (!config->queues || config->queues > VIRTIO_PCI_MAX_QUEUES ||
	    !is_power_of_two(config->queue_size) ||
	    config->device_config_size > VIRTIO_PCI_DEVICE_MAX)
		return -EINVAL;
	vp->ops = config->ops;
	vp->loop = config->loop;
	vp->hv = config->hv;
	vp->queue_count = config->queues;
	vp->device_config = config->device_config;
	vp->device_config_size = config->device_config_size;
	vp->config_vector = VIRTIO_MSI_NO_VECTOR;
	device_init(&vp->pci.dev, config->id, config->device_ops);
	err = virtio_pci_init_events(vp, config->queue_size);
	if (err)
		goto err_device;
	err = init_function(vp, config);
	if (err)
		goto err_events;
	return 0;

err_events:
	virtio_pci_fini_events(vp);
err_device:
	device_fini(&vp->pci.dev);
	return err;
}

void virtio_pci_fini(struct virtio_pci *vp)
{
	if (vp->pci.bus)
		pci_bus_remove(&vp->pci);
	virtio_pci_unmap_doorbells(vp);
	pci_msix_destroy(vp->msix);
	virtio_pci_fini_events(vp);
	device_fini(&vp->pci.dev);
}
