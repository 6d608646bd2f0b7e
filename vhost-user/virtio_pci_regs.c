#include "vhost-user/virtio_pci_regs.h"

#include "core/irq.h"
#include "core/log.h"

static struct virtio_queue *selected_queue(struct virtio_pci *vp)
{
	return vp->queue_select < vp->queue_count ? &vp->queues[vp->queue_select] : NULL;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

/* The common configuration structure as the driver would see it now (virtio 1.2 §4.1.4.3). */
static void common_image(struct virtio_pci *vp, uint8_t image[VIRTIO_PCI_COMMON_SIZE])
{
	struct virtio_queue *queue = selected_queue(vp);

	memset(image, 0, VIRTIO_PCI_COMMON_SIZE);
	put_le32(image + VIRTIO_PCI_COMMON_DFSELECT, vp->device_feature_select);
	put_le32(image + VIRTIO_PCI_COMMON_DF,
		 feature_word(vp->features, vp->device_feature_select));
	put_le32(image + VIRTIO_PCI_COMMON_GFSELECT, vp->driver_feature_select);
	put_le32(image + VIRTIO_PCI_COMMON_GF, feature_word(vp->acked, vp->driver_feature_select));
	put_le16(image + VIRTIO_PCI_COMMON_MSIX, vp->config_vector);
	put_le16(image + VIRTIO_PCI_COMMON_NUMQ, (uint16_t)vp->queue_count);
	image[VIRTIO_PCI_COMMON_STATUS] = vp->status;
	image[VIRTIO_PCI_COMMON_CFGGENERATION] = vp->config_generation;
	put_le16(image + VIRTIO_PCI_COMMON_Q_SELECT, vp->queue_select);
	if (!queue)
		return; /* size 0: not available (§4.1.4.3.1) */
	put_le16(image + VIRTIO_PCI_COMMON_Q_SIZE, queue->size);
	put_le16(image + VIRTIO_PCI_COMMON_Q_MSIX, queue->vector);
	put_le16(image + VIRTIO_PCI_COMMON_Q_ENABLE, queue->enabled);
	put_le16(image + VIRTIO_PCI_COMMON_Q_NOFF, queue->index);
	put_le64(image + VIRTIO_PCI_COMMON_Q_DESCLO, queue->desc);
	put_le64(image + VIRTIO_PCI_COMMON_Q_AVAILLO, queue->driver);
	put_le64(image + VIRTIO_PCI_COMMON_Q_USEDLO, queue->device);
}

/* Bytes of a structure; beyond its end they read as zero. */
static uint64_t image_read(const uint8_t *image, uint64_t image_size, uint64_t offset,
			   unsigned int size)
{
	uint64_t value = 0;

	if (offset < image_size)
		memcpy(&value, image + offset, MIN(size, image_size - offset));
	return value;
}

static uint64_t isr_read(struct virtio_pci *vp)
{
	uint8_t isr = atomic_exchange(&vp->isr, 0);

	virtio_pci_clear_interrupt(vp);
	return isr;
}

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct virtio_pci *vp = opaque;
	uint8_t image[VIRTIO_PCI_COMMON_SIZE];

	if (offset >= VIRTIO_PCI_NOTIFY_AT)
		return 0;
	if (offset >= VIRTIO_PCI_DEVICE_AT)
		return image_read(vp->device_config, vp->device_config_size,
				  offset - VIRTIO_PCI_DEVICE_AT, size);
	if (offset >= VIRTIO_PCI_ISR_AT)
		return offset == VIRTIO_PCI_ISR_AT ? isr_read(vp) : 0;
	common_image(vp, image);
	return image_read(image, sizeof(image), offset, size);
}

static void driver_features_write(struct virtio_pci *vp, uint32_t value)
{
	unsigned int shift = 32 * vp->driver_feature_select;

	if (vp->driver_feature_select > 1)
		return;
	if (vp->status & VIRTIO_CONFIG_S_FEATURES_OK) {
		virtio_pci_guest_fault(vp); /* too late: §3.1.1 step 5 */
		return;
	}
	vp->acked = (vp->acked & ~(0xffffffffULL << shift)) | (uint64_t)value << shift;
}

static bool features_acceptable(struct virtio_pci *vp)
{
	if (vp->acked & ~vp->features || !virtio_pci_has(vp, VIRTIO_F_VERSION_1))
		return false;
	return !vp->ops->features_ok || vp->ops->features_ok(vp, vp->acked);
}

static void status_write(struct virtio_pci *vp, uint8_t value)
{
	uint8_t added = value & ~vp->status;

	if (vp->reset_pending) {
		if (value)
			virtio_pci_guest_fault(vp); /* it has not waited for 0: §4.1.4.3.2 */
		return;
	}
	if (!value && !vp->status) {
		/* It reads 0 already, so the driver will not wait; nor is there anything to stop. */
		virtio_pci_clear(vp);
		return;
	}
	if (!value) {
		vp->reset_pending = true;
		virtio_pci_wake(vp);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK && !features_acceptable(vp)) {
		log_guest("%s: the driver chose features %#llx of %#llx: refused", vp->pci.dev.id,
			  (unsigned long long)vp->acked, (unsigned long long)vp->features);
		value &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	if (added & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !((vp->status | value) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_pci_guest_fault(vp);
		value &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	/* The driver can not take a bit back, nor claim the device's own (§2.1.1). */
	vp->status |= value & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
	if (value & added & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_pci_wake(vp);
}

static bool queue_acceptable(const struct virtio_pci *vp, const struct virtio_queue *queue)
{
	uint64_t size = queue->size;

	if (vp->status & VIRTIO_CONFIG_S_DRIVER_OK || !is_power_of_two(size) ||
	    queue->desc & 15 || queue->driver & 1 || queue->device & 3)
		return false;
	return queue->desc <= UINT64_MAX - 16 * size && queue->driver <= UINT64_MAX - (6 + 2 * size) &&
	       queue->device <= UINT64_MAX - (6 + 8 * size);
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	if (high)
		*address = (*address & 0xffffffffULL) | (uint64_t)value << 32;
	else
		*address = (*address & ~0xffffffffULL) | value;
}

static uint16_t checked_vector(struct virtio_pci *vp, uint16_t vector)
{
	/* Reading back "no vector" tells the driver that the mapping failed (§4.1.5.1.2). */
	return vector < pci_msix_vectors(vp->msix) ? vector : VIRTIO_MSI_NO_VECTOR;
}

static void queue_write(struct virtio_pci *vp, struct virtio_queue *queue, uint64_t offset,
			uint32_t value)
{
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		queue->vector = checked_vector(vp, (uint16_t)value);
		if (vp->started) {
			vp->calls_pending = true;
			virtio_pci_wake(vp);
		}
		return;
	}
	if (queue->enabled) {
		virtio_pci_guest_fault(vp);
		return;
	}
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (is_power_of_two(value) && value <= queue->max_size)
			queue->size = (uint16_t)value;
		else
			virtio_pci_guest_fault(vp);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		queue->enabled = value == 1 && queue_acceptable(vp, queue);
		if (!queue->enabled)
			virtio_pci_guest_fault(vp);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		set_half(&queue->desc, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		set_half(&queue->driver, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
		break;
	default:
		set_half(&queue->device, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
		break;
	}
}

/* The width of the writable field at offset; 0: none. Fields are written whole (§4.1.3.1). */
static unsigned int common_field_width(uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
		return 1;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return 2;
	case VIRTIO_PCI_COMMON_DFSELECT:
	case VIRTIO_PCI_COMMON_GFSELECT:
	case VIRTIO_PCI_COMMON_GF:
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return 4;
	default:
		return 0;
	}
}

static void common_write(struct virtio_pci *vp, uint64_t offset, unsigned int size, uint32_t value)
{
	struct virtio_queue *queue;

	if (size != common_field_width(offset)) {
		virtio_pci_guest_fault(vp);
		return;
	}
	if (vp->reset_pending && offset != VIRTIO_PCI_COMMON_STATUS) {
		virtio_pci_guest_fault(vp);
		return;
	}
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
		status_write(vp, (uint8_t)value);
		return;
	case VIRTIO_PCI_COMMON_DFSELECT:
		vp->device_feature_select = value;
		return;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vp->driver_feature_select = value;
		return;
	case VIRTIO_PCI_COMMON_GF:
		driver_features_write(vp, value);
		return;
	case VIRTIO_PCI_COMMON_MSIX:
		vp->config_vector = checked_vector(vp, (uint16_t)value);
		return;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vp->queue_select = (uint16_t)value;
		return;
	}
	queue = selected_queue(vp);
	if (queue)
		queue_write(vp, queue, offset, value);
	else
		virtio_pci_guest_fault(vp);
}

/* Reached only where the hypervisor could not take the doorbell over. */
static void notify_write(struct virtio_pci *vp, uint64_t offset)
{
	uint64_t index = offset / VIRTIO_PCI_NOTIFY_MULTIPLIER;

	if (index < vp->queue_count)
		irq_eventfd_signal(vp->queues[index].kick_fd);
	else
		virtio_pci_guest_fault(vp);
}

static void registers_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *vp = opaque;

	if (offset >= VIRTIO_PCI_NOTIFY_AT)
		notify_write(vp, offset - VIRTIO_PCI_NOTIFY_AT);
	else if (offset < VIRTIO_PCI_COMMON_SIZE)
		common_write(vp, offset, size, (uint32_t)value);
	else
		virtio_pci_guest_fault(vp); /* no device here has a writable configuration field */
}

const struct io_ops virtio_pci_register_ops = {
	.read = registers_read,
	.write = registers_write,
};

/* What the window now points at: false if nowhere an access may go. */
static bool window_target(struct virtio_pci *vp, uint64_t *offset, unsigned int *size)
{
	const uint8_t *cap = vp->pci.config + vp->cfg_cap;
	uint32_t at = get_le32(cap + VIRTIO_PCI_CAP_OFFSET);
	uint32_t len = get_le32(cap + VIRTIO_PCI_CAP_LENGTH);

	*offset = at;
	*size = len;
	return cap[VIRTIO_PCI_CAP_BAR] == VIRTIO_PCI_REGISTERS_BAR &&
	       (len == 1 || len == 2 || len == 4) && !(at & (len - 1)) &&
	       range_within(at, len, VIRTIO_PCI_REGISTERS_SIZE);
}

static bool touches_window(const struct virtio_pci *vp, uint16_t offset, unsigned int len)
{
	return vp->cfg_cap && range_overlaps(offset, len, vp->cfg_cap + sizeof(struct virtio_pci_cap),
					     sizeof(uint32_t));
}

void virtio_pci_window_reading(struct virtio_pci *vp, uint16_t offset, unsigned int len)
{
	uint64_t at;
	unsigned int size;

	if (touches_window(vp, offset, len) && window_target(vp, &at, &size))
		put_le32(vp->pci.config + vp->cfg_cap + sizeof(struct virtio_pci_cap),
			 (uint32_t)registers_read(vp, at, size));
}

void virtio_pci_window_written(struct virtio_pci *vp, uint16_t offset, unsigned int len)
{
	uint32_t data;
	uint64_t at;
	unsigned int size;

	if (!touches_window(vp, offset, len) || !window_target(vp, &at, &size))
		return;
	data = get_le32(vp->pci.config + vp->cfg_cap + sizeof(struct virtio_pci_cap));
	registers_write(vp, at, size, data & (size == 4 ? ~0u : (1u << 8 * size) - 1));
}
