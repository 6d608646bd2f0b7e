#include "vhost-user/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/virtio_pci_impl.h"

/* Doorbells: while the BAR is mapped, each queue's notify address is its kick eventfd. */

static struct ioeventfd doorbell(const struct virtio_pci *vp, const struct virtio_queue *queue)
{
	return (struct ioeventfd){
		.addr = vp->registers_addr + VIRTIO_PCI_NOTIFY_AT +
			VIRTIO_PCI_NOTIFY_MULTIPLIER * queue->index,
		.fd = queue->kick_fd,
	};
}

static void doorbells_detach(struct virtio_pci *vp, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct ioeventfd io = doorbell(vp, &vp->queues[i]);

		vp->hv->ops->ioeventfd_detach(vp->hv, &io);
	}
	vp->doorbells_mapped = false;
}

static void doorbells_attach(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < vp->queue_count; i++) {
		struct ioeventfd io = doorbell(vp, &vp->queues[i]);
		int err = vp->hv->ops->ioeventfd_attach(vp->hv, &io);

		if (err) {
			/* Everything still works, through the register handler. */
			log_guest("%s: no ioeventfd at %#llx: %s; notifications will be slow",
				  vp->pci.dev.id, (unsigned long long)io.addr, strerror(-err));
			doorbells_detach(vp, i);
			return;
		}
	}
	vp->doorbells_mapped = true;
}

void virtio_pci_unmap_doorbells(struct virtio_pci *vp)
{
	if (vp->doorbells_mapped)
		doorbells_detach(vp, vp->queue_count);
}

void virtio_pci_registers_moved(struct pci_device *pci, unsigned int bar, bool mapped,
				uint64_t addr)
{
	struct virtio_pci *vp = virtio_pci_of(pci);

	virtio_pci_unmap_doorbells(vp);
	vp->registers_addr = addr;
	if (mapped)
		doorbells_attach(vp);
}

/* Interrupts */

void virtio_pci_wake(struct virtio_pci *vp)
{
	eventfd_write(vp->wake_fd, 1);
}

void virtio_pci_clear_interrupt(struct virtio_pci *vp)
{
	pci_device_set_intx(&vp->pci, false);
}

static void raise_intx(struct virtio_pci *vp, uint8_t cause)
{
	atomic_fetch_or(&vp->isr, cause);
	pci_device_set_intx(&vp->pci, true);
}

static void call_ready(void *opaque, int fd, unsigned int events)
{
	struct virtio_pci *vp = opaque;

	if (!irq_eventfd_take(fd))
		return;
	device_enter(&vp->pci.dev);
	if (!pci_msix_enabled(vp->msix) && vp->status & VIRTIO_CONFIG_S_DRIVER_OK)
		raise_intx(vp, 1);
	device_leave(&vp->pci.dev);
}

int virtio_pci_call_fd(struct virtio_pci *vp, const struct virtio_queue *queue)
{
	if (!pci_msix_enabled(vp->msix))
		return vp->call_fd;
	return pci_msix_fd(vp->msix, queue->vector); /* -1 for VIRTIO_MSI_NO_VECTOR */
}

void virtio_pci_notify_queue(struct virtio_pci *vp, const struct virtio_queue *queue)
{
	if (pci_msix_enabled(vp->msix))
		pci_msix_notify(vp->msix, queue->vector);
	else
		irq_eventfd_signal(vp->call_fd);
}

void virtio_pci_notify_config(struct virtio_pci *vp)
{
	vp->config_generation++;
	if (!(vp->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return; /* §2.1.2: no notification before DRIVER_OK */
	vp->counters.config_interrupts++;
	if (pci_msix_enabled(vp->msix))
		pci_msix_notify(vp->msix, vp->config_vector);
	else
		raise_intx(vp, VIRTIO_PCI_ISR_CONFIG);
}

void virtio_pci_needs_reset(struct virtio_pci *vp, const char *why)
{
	log_guest("%s: the device needs a reset: %s", vp->pci.dev.id, why);
	vp->counters.needs_reset++;
	vp->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_pci_notify_config(vp);
}

/* The life of the rings: io thread. */

static void queue_reset(struct virtio_queue *queue)
{
	/* A kick that was left over stays: it makes the next device look at an empty ring. */
	queue->size = queue->max_size;
	queue->enabled = false;
	queue->desc = queue->driver = queue->device = 0;
	queue->base = 0;
	queue->vector = VIRTIO_MSI_NO_VECTOR;
}

void virtio_pci_clear(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < vp->queue_count; i++)
		queue_reset(&vp->queues[i]);
	vp->acked = 0;
	vp->device_feature_select = vp->driver_feature_select = 0;
	vp->queue_select = 0;
	vp->config_vector = VIRTIO_MSI_NO_VECTOR;
	vp->isr = 0;
	virtio_pci_clear_interrupt(vp);
	vp->calls_pending = false;
	vp->reset_pending = false;
	vp->status = 0;
	vp->counters.resets++;
}

static void finish_reset(struct virtio_pci *vp)
{
	virtio_pci_clear(vp);
	if (vp->ops->was_reset)
		vp->ops->was_reset(vp);
}

static void begin_stop(struct virtio_pci *vp)
{
	if (!vp->started || vp->stopping)
		return;
	vp->stopping = true;
	vp->ops->stop(vp);
}

static void end_stop(struct virtio_pci *vp)
{
	if (vp->stopping && atomic_exchange(&vp->has_stopped, false))
		vp->started = vp->stopping = false;
}

void virtio_pci_stopped(struct virtio_pci *vp)
{
	vp->has_stopped = true;
	virtio_pci_wake(vp);
}

static void begin_start(struct virtio_pci *vp)
{
	const uint8_t live = VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK;
	int err;

	if (vp->started || !vp->can_master || (vp->status & live) != live ||
	    vp->status & (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED))
		return;
	vp->calls_pending = false;
	vp->started = true;
	vp->counters.starts++;
	err = vp->ops->start(vp);
	if (err) {
		vp->started = false;
		virtio_pci_needs_reset(vp, strerror(-err));
	}
}

/* Brings the rings to where status wants them. Lock held. */
static void sync_status(struct virtio_pci *vp)
{
	end_stop(vp);
	if (vp->quiesced)
		return;
	if (vp->reset_pending) {
		begin_stop(vp);
		end_stop(vp);
		if (!vp->started)
			finish_reset(vp);
		return;
	}
	if (!vp->started) {
		begin_start(vp);
	} else if (!vp->can_master) {
		begin_stop(vp);
	} else if (vp->calls_pending && !vp->stopping) {
		vp->calls_pending = false;
		if (vp->ops->calls_changed)
			vp->ops->calls_changed(vp);
	}
}

static void wake_ready(void *opaque, int fd, unsigned int events)
{
	struct virtio_pci *vp = opaque;
	eventfd_t count;

	if (eventfd_read(fd, &count) < 0)
		return;
	device_enter(&vp->pci.dev);
	sync_status(vp);
	device_leave(&vp->pci.dev);
}

static void stop_now(struct virtio_pci *vp)
{
	begin_stop(vp);
	if (vp->stopping && !vp->has_stopped)
		vp->ops->wait_stopped(vp);
	end_stop(vp);
	if (vp->reset_pending && !vp->started)
		finish_reset(vp);
}

int virtio_pci_quiesce(struct virtio_pci *vp)
{
	vp->quiesced = true;
	stop_now(vp);
	return vp->started ? -EBUSY : 0;
}

int virtio_pci_resume(struct virtio_pci *vp)
{
	vp->quiesced = false;
	virtio_pci_wake(vp);
	return 0;
}

void virtio_pci_reset(struct virtio_pci *vp)
{
	stop_now(vp);
	finish_reset(vp);
	pci_msix_reset(vp->msix);
	pci_device_reset(&vp->pci);
	vp->msix_enabled = vp->can_master = false;
}

/* Descriptors */

void virtio_pci_fini_events(struct virtio_pci *vp)
{
	loop_io_remove(vp->wake_io);
	loop_io_remove(vp->call_io);
	if (vp->wake_fd >= 0)
		close(vp->wake_fd);
	if (vp->call_fd >= 0)
		close(vp->call_fd);
	for (unsigned int i = 0; vp->queues && i < vp->queue_count; i++)
		if (vp->queues[i].kick_fd >= 0)
			close(vp->queues[i].kick_fd);
	free(vp->queues);
}

int virtio_pci_init_events(struct virtio_pci *vp, uint16_t queue_size)
{
	bool complete;

	vp->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	vp->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	vp->queues = calloc(vp->queue_count, sizeof(*vp->queues));
	complete = vp->wake_fd >= 0 && vp->call_fd >= 0 && vp->queues;
	for (unsigned int i = 0; vp->queues && i < vp->queue_count; i++) {
		struct virtio_queue *queue = &vp->queues[i];

		queue->index = (uint16_t)i;
		queue->max_size = queue->size = queue_size;
		queue->vector = VIRTIO_MSI_NO_VECTOR;
		queue->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		complete = complete && queue->kick_fd >= 0;
	}
	if (complete) {
		vp->wake_io = loop_io_add(vp->loop, vp->wake_fd, LOOP_READ, wake_ready, vp);
		vp->call_io = loop_io_add(vp->loop, vp->call_fd, LOOP_READ, call_ready, vp);
	}
	if (vp->wake_io && vp->call_io)
		return 0;
	virtio_pci_fini_events(vp);
	return -ENOMEM;
}
