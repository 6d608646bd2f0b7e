/* Saving, loading and reporting a virtio function. */
#include <errno.h>

#include "vhost-user/virtio_pci.h"

void virtio_pci_save(const struct virtio_pci *vp, struct virtio_pci_state *state)
{
	memset(state, 0, sizeof(*state));
	pci_device_save(&vp->pci, &state->pci);
	pci_msix_save(vp->msix, &state->msix);
	state->acked = vp->acked;
	state->device_feature_select = vp->device_feature_select;
	state->driver_feature_select = vp->driver_feature_select;
	state->queue_select = vp->queue_select;
	state->config_vector = vp->config_vector;
	state->status = vp->status;
	state->config_generation = vp->config_generation;
	state->isr = vp->isr;
	for (unsigned int i = 0; i < vp->queue_count; i++) {
		const struct virtio_queue *queue = &vp->queues[i];

		state->queues[i] = (struct virtio_queue_state){
			.desc = queue->desc,
			.driver = queue->driver,
			.device = queue->device,
			.size = queue->size,
			.vector = queue->vector,
			.base = queue->base,
			.enabled = queue->enabled,
		};
	}
}

static bool vector_acceptable(const struct virtio_pci *vp, uint16_t vector)
{
	return vector == VIRTIO_MSI_NO_VECTOR || vector < pci_msix_vectors(vp->msix);
}

static bool state_acceptable(const struct virtio_pci *vp, const struct virtio_pci_state *state)
{
	if (!vector_acceptable(vp, state->config_vector))
		return false;
	if (state->status & VIRTIO_CONFIG_S_FEATURES_OK && state->acked & ~vp->features)
		return false;
	if (state->status & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !(state->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	for (unsigned int i = 0; i < vp->queue_count; i++) {
		const struct virtio_queue_state *queue = &state->queues[i];

		if (!is_power_of_two(queue->size) || queue->size > vp->queues[i].max_size ||
		    !vector_acceptable(vp, queue->vector) || queue->enabled > 1)
			return false;
		if (queue->enabled && (queue->desc & 15 || queue->driver & 1 || queue->device & 3))
			return false;
	}
	return true;
}

int virtio_pci_load(struct virtio_pci *vp, const struct virtio_pci_state *state)
{
	int err;

	if (!state_acceptable(vp, state))
		return -EINVAL;
	err = pci_device_load(&vp->pci, &state->pci);
	if (!err)
		err = pci_msix_load(vp->msix, &state->msix);
	if (err)
		return err;
	vp->msix_enabled = pci_msix_enabled(vp->msix);
	vp->can_master = pci_device_can_master(&vp->pci);
	vp->acked = state->acked;
	vp->device_feature_select = state->device_feature_select;
	vp->driver_feature_select = state->driver_feature_select;
	vp->queue_select = state->queue_select;
	vp->config_vector = state->config_vector;
	vp->status = state->status;
	vp->config_generation = state->config_generation;
	vp->isr = state->isr;
	for (unsigned int i = 0; i < vp->queue_count; i++) {
		const struct virtio_queue_state *from = &state->queues[i];
		struct virtio_queue *queue = &vp->queues[i];

		queue->desc = from->desc;
		queue->driver = from->driver;
		queue->device = from->device;
		queue->size = from->size;
		queue->vector = from->vector;
		queue->base = from->base;
		queue->enabled = from->enabled;
	}
	pci_device_set_intx(&vp->pci, vp->isr && !vp->msix_enabled);
	return 0;
}

void virtio_pci_emit_counters(struct virtio_pci *vp, counter_fn emit, void *opaque)
{
	emit(opaque, "guest_faults", vp->counters.guest_faults);
	emit(opaque, "resets", vp->counters.resets);
	emit(opaque, "starts", vp->counters.starts);
	emit(opaque, "config_interrupts", vp->counters.config_interrupts);
	emit(opaque, "needs_reset", vp->counters.needs_reset);
}
