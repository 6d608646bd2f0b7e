#include "vhost-user/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/log.h"
#include "core/pci_bus.h"
#include "vhost-user/virtio_pci_regs.h"

#define PCI_VENDOR_VIRTIO 0x1af4u
#define PCI_DEVICE_VIRTIO_BASE 0x1040u /* plus the virtio device number: §4.1.2.1 */
#define PCI_SUBSYSTEM_OURS 0x1100u
#define MSIX_PBA_AT 0x800u
#define MSIX_BAR_SIZE 0x1000u

static struct virtio_pci *from_pci(struct pci_device *pci)
{
	return container_of(pci, struct virtio_pci, pci);
}

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

static void registers_moved(struct pci_device *pci, unsigned int bar, bool mapped, uint64_t addr)
{
	struct virtio_pci *vp = from_pci(pci);

	if (vp->doorbells_mapped)
		doorbells_detach(vp, vp->queue_count);
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

	if (vp->started || (vp->status & live) != live ||
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
	vp->msix_enabled = false;
}

/* Configuration space */

static void config_reading(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	virtio_pci_window_reading(from_pci(pci), offset, len);
}

static void config_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	struct virtio_pci *vp = from_pci(pci);

	pci_msix_config_written(vp->msix, offset, len);
	if (pci_msix_enabled(vp->msix) != vp->msix_enabled) {
		vp->msix_enabled = !vp->msix_enabled;
		vp->isr = 0;
		virtio_pci_clear_interrupt(vp);
		vp->calls_pending = true;
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
	vp->pci.bars[VIRTIO_PCI_REGISTERS_BAR].changed = registers_moved;
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

static void fini_events(struct virtio_pci *vp)
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

static int init_events(struct virtio_pci *vp, uint16_t queue_size)
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
	fini_events(vp);
	return -ENOMEM;
}

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
	err = init_events(vp, config->queue_size);
	if (err)
		goto err_device;
	err = init_function(vp, config);
	if (err)
		goto err_events;
	return 0;

err_events:
	fini_events(vp);
err_device:
	device_fini(&vp->pci.dev);
	return err;
}

void virtio_pci_fini(struct virtio_pci *vp)
{
	if (vp->pci.bus)
		pci_bus_remove(&vp->pci);
	if (vp->doorbells_mapped)
		doorbells_detach(vp, vp->queue_count);
	pci_msix_destroy(vp->msix);
	fini_events(vp);
	device_fini(&vp->pci.dev);
}
