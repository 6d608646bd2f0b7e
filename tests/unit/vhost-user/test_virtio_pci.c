/* The transport, driven through its registers as a guest's driver and as a hostile guest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "tests/unit/vhost-user/virtio_rig.h"

#define FEATURES (1ULL << VIRTIO_F_VERSION_1 | 1ULL << 5)

/* A device that only records what the transport asks of it. */
struct probe {
	struct virtio_pci vp;
	uint8_t config[12];
	bool slow_stop; /* the test says when it has stopped */
	int start_result;
	unsigned int starts, stops, waits, call_changes, resets;
};

static struct probe *probe_of(struct virtio_pci *vp)
{
	return container_of(vp, struct probe, vp);
}

static int probe_start(struct virtio_pci *vp)
{
	probe_of(vp)->starts++;
	return probe_of(vp)->start_result;
}

static void probe_stop(struct virtio_pci *vp)
{
	struct probe *probe = probe_of(vp);

	probe->stops++;
	vp->queues[0].base = 7;
	if (!probe->slow_stop)
		virtio_pci_stopped(vp);
}

static void probe_wait(struct virtio_pci *vp)
{
	probe_of(vp)->waits++;
	virtio_pci_stopped(vp);
}

static void probe_calls(struct virtio_pci *vp)
{
	probe_of(vp)->call_changes++;
}

static bool probe_features(struct virtio_pci *vp, uint64_t features)
{
	return features & 1 << 5;
}

static void probe_was_reset(struct virtio_pci *vp)
{
	probe_of(vp)->resets++;
}

static const struct virtio_ops probe_ops = {
	.start = probe_start,
	.stop = probe_stop,
	.wait_stopped = probe_wait,
	.calls_changed = probe_calls,
	.features_ok = probe_features,
	.was_reset = probe_was_reset,
};

static void probe_destroy(struct device *dev)
{
	struct probe *probe = container_of(dev, struct probe, vp.pci.dev);

	assert_int_equal(virtio_pci_quiesce(&probe->vp), 0);
	virtio_pci_fini(&probe->vp);
	free(probe);
}

static void probe_counters(struct device *dev, counter_fn emit, void *opaque)
{
	virtio_pci_emit_counters(&container_of(dev, struct probe, vp.pci.dev)->vp, emit, opaque);
}

static const struct device_ops probe_device_ops = {
	.type = "probe", .destroy = probe_destroy, .counters = probe_counters};

static struct probe *probe_create(struct virtio_rig *rig)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	const struct virtio_pci_config config = {
		.id = "probe",
		.device_ops = &probe_device_ops,
		.ops = &probe_ops,
		.loop = rig->loop,
		.hv = &rig->hv.hv,
		.device_id = 1,
		.class_code = 0x020000,
		.queues = 3,
		.queue_size = 128,
		.device_config = probe->config,
		.device_config_size = sizeof(probe->config),
	};

	for (unsigned int i = 0; i < sizeof(probe->config); i++)
		probe->config[i] = (uint8_t)(0xa0 + i);
	assert_int_equal(virtio_pci_init(&probe->vp, &config), 0);
	probe->vp.features = FEATURES | 1ULL << 6;
	return probe;
}

struct fixture {
	struct virtio_rig rig;
	struct probe *probe;
};

static int setup(void **state)
{
	static struct fixture f;

	virtio_rig_init(&f.rig);
	f.probe = probe_create(&f.rig);
	virtio_rig_plug(&f.rig, &f.probe->vp.pci);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	virtio_rig_fini(&((struct fixture *)*state)->rig);
	return 0;
}

static bool probe_started(void *opaque)
{
	return ((struct probe *)opaque)->starts > 0;
}

/* Negotiates, gives a ring to queue 0 and starts. */
static void start(struct fixture *f, uint16_t vector, struct vring_driver *vd)
{
	assert_true(virtio_rig_negotiate(&f->rig, FEATURES));
	virtio_rig_queue(&f->rig, 0, 64, vector, FEATURES, vd);
	virtio_rig_driver_ok(&f->rig);
	assert_true(virtio_rig_run_until(&f->rig, probe_started, f->probe));
}

static void test_identity(void **state)
{
	struct fixture *f = *state;
	struct virtio_rig *rig = &f->rig;

	assert_int_equal(pci_bus_config_read(rig->bus, 0, RIG_DEVFN, PCI_VENDOR_ID, 4), 0x10411af4);
	assert_int_equal(pci_bus_config_read(rig->bus, 0, RIG_DEVFN, PCI_REVISION_ID, 1), 1);
	assert_int_equal(virtio_rig_read(rig, VIRTIO_PCI_COMMON_NUMQ, 2), 3);
	assert_int_equal(virtio_rig_features(rig), FEATURES | 1ULL << 6);
	assert_int_equal(virtio_rig_config(rig, 0, 4), 0xa3a2a1a0);
	assert_int_equal(virtio_rig_config(rig, 10, 4), 0xabaa); /* runs past the end */
	assert_int_equal(virtio_rig_config(rig, 64, 4), 0);
}

static void test_features(void **state)
{
	struct fixture *f = *state;

	assert_true(virtio_rig_negotiate(&f->rig, FEATURES));
	/* Once accepted they stay. */
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_GF, 4, 0);
	assert_int_equal(f->probe->vp.acked, FEATURES);
	assert_false(virtio_rig_negotiate(&f->rig, FEATURES | 1ULL << 9)); /* not offered */
	assert_false(virtio_rig_negotiate(&f->rig, 1ULL << 5));		   /* no VERSION_1 */
	assert_false(virtio_rig_negotiate(&f->rig, 1ULL << VIRTIO_F_VERSION_1)); /* device's veto */
	virtio_rig_driver_ok(&f->rig); /* without FEATURES_OK: nothing starts */
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->probe->starts, 0);
	assert_false(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_DRIVER_OK);
}

static void test_life(void **state)
{
	struct fixture *f = *state;
	struct vring_driver vd;

	start(f, VIRTIO_MSI_NO_VECTOR, &vd);
	assert_int_equal(f->probe->vp.queues[0].size, 64);
	assert_int_equal(f->probe->vp.queues[0].desc, vd.addrs.desc);
	assert_int_equal(f->probe->vp.queues[0].device, vd.addrs.used);

	/* Status stays until the rings have stopped, whatever the driver does meanwhile. */
	f->probe->slow_stop = true;
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->probe->stops, 1);
	assert_int_not_equal(virtio_rig_status(&f->rig), 0);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 1);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1); /* it has to wait for 0 */
	assert_int_equal(virtio_rig_read(&f->rig, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->probe->stops, 1);
	virtio_pci_stopped(&f->probe->vp);
	virtio_rig_settle(&f->rig);
	assert_int_equal(virtio_rig_status(&f->rig), 0);
	assert_false(f->probe->vp.queues[0].enabled);
	assert_int_equal(f->probe->vp.queues[0].base, 0);
	assert_int_equal(f->probe->vp.queues[0].size, 128);
	assert_int_equal(f->probe->vp.acked, 0);
	assert_true(virtio_rig_counter(&f->rig, "guest_faults") > 0);
	vring_driver_fini(&vd);
}

/* A reset of what is reset already is done at once: no driver would wait for it. */
static void test_reset_at_rest(void **state)
{
	struct fixture *f = *state;

	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x1000);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(virtio_rig_status(&f->rig), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_rig_settle(&f->rig);
	assert_int_equal(virtio_rig_status(&f->rig), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(f->probe->vp.queues[0].desc, 0);
	assert_int_equal(virtio_rig_counter(&f->rig, "guest_faults"), 0);
}

static void test_failing_start(void **state)
{
	struct fixture *f = *state;
	struct vring_driver vd;

	f->probe->start_result = -EFAULT;
	start(f, VIRTIO_MSI_NO_VECTOR, &vd);
	virtio_rig_settle(&f->rig);
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(f->rig.intx); /* a configuration interrupt */
	assert_int_equal(f->probe->starts, 1);
	f->probe->start_result = 0;
	assert_true(virtio_rig_reset(&f->rig));
	assert_false(f->rig.intx);
	assert_int_equal(f->probe->stops, 0);
	vring_driver_fini(&vd);
}

static void test_doorbells(void **state)
{
	struct fixture *f = *state;
	struct fake_hypervisor *hv = &f->rig.hv;
	eventfd_t n;

	assert_int_equal(hv->ioeventfd_count, 3);
	assert_true(fake_hypervisor_io_write(hv, false, RIG_REGISTERS + f->rig.notify_off + 4, 2, 1));
	assert_int_equal(eventfd_read(f->probe->vp.queues[1].kick_fd, &n), 0);
	assert_int_equal(eventfd_read(f->probe->vp.queues[0].kick_fd, &n), -1);

	/* They follow the BAR. */
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
	assert_int_equal(hv->ioeventfd_count, 3);
	assert_false(fake_hypervisor_io_write(hv, false, RIG_REGISTERS + f->rig.notify_off, 2, 0));
	assert_true(fake_hypervisor_io_write(hv, false, 0xd0000000 + f->rig.notify_off, 2, 0));
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2, 0);
	assert_int_equal(hv->ioeventfd_count, 0);

	/* Without them the register handler does it. */
	hv->fail = -ENOSYS;
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_BASE_ADDRESS_0, 4, RIG_REGISTERS);
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	hv->fail = 0;
	virtio_rig_write(&f->rig, f->rig.notify_off + 8, 2, 2);
	assert_int_equal(eventfd_read(f->probe->vp.queues[2].kick_fd, &n), 0);
	virtio_rig_write(&f->rig, f->rig.notify_off + 12, 2, 3); /* no such queue */
	assert_int_equal(virtio_rig_counter(&f->rig, "guest_faults"), 1);
}

static bool intx_up(void *opaque)
{
	return ((struct virtio_rig *)opaque)->intx;
}

static void test_intx(void **state)
{
	struct fixture *f = *state;
	struct virtio_rig *rig = &f->rig;
	struct vring_driver vd;
	int call;

	start(f, VIRTIO_MSI_NO_VECTOR, &vd);
	call = virtio_pci_call_fd(&f->probe->vp, &f->probe->vp.queues[0]);
	assert_true(call >= 0);
	assert_int_equal(eventfd_write(call, 1), 0);
	assert_true(virtio_rig_run_until(rig, intx_up, rig));
	assert_int_equal(virtio_rig_read(rig, 0x1000, 1), 1); /* ISR: queue; reading clears */
	assert_false(rig->intx);
	assert_int_equal(virtio_rig_read(rig, 0x1000, 1), 0);
	device_enter(&rig->pci->dev);
	virtio_pci_notify_config(&f->probe->vp);
	device_leave(&rig->pci->dev);
	assert_true(rig->intx);
	assert_int_equal(virtio_rig_read(rig, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
	assert_int_equal(virtio_rig_read(rig, 0x1000, 1), VIRTIO_PCI_ISR_CONFIG);
	vring_driver_fini(&vd);
}

static void test_msix(void **state)
{
	struct fixture *f = *state;
	struct virtio_rig *rig = &f->rig;
	struct vring_driver vd;

	virtio_rig_msix_on(rig);
	start(f, 2, &vd);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	assert_int_equal(eventfd_write(virtio_pci_call_fd(&f->probe->vp, &f->probe->vp.queues[0]), 1),
			 0);
	assert_int_equal(virtio_rig_messages(rig, 2), 1);
	assert_int_equal(virtio_pci_call_fd(&f->probe->vp, &f->probe->vp.queues[1]), -1);
	device_enter(&rig->pci->dev);
	virtio_pci_notify_config(&f->probe->vp);
	device_leave(&rig->pci->dev);
	assert_int_equal(virtio_rig_messages(rig, 0), 1);
	assert_false(rig->intx);

	/* A vector that is not there reads back as none; a change while started is passed on. */
	assert_int_equal(f->probe->call_changes, 0);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2, 4);
	assert_int_equal(virtio_rig_read(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	virtio_rig_settle(rig);
	assert_int_equal(f->probe->call_changes, 1);
	vring_driver_fini(&vd);
}

static void test_bad_queues(void **state)
{
	struct fixture *f = *state;
	struct virtio_rig *rig = &f->rig;
	struct virtio_queue *queue = &f->probe->vp.queues[0];

	assert_true(virtio_rig_negotiate(rig, FEATURES));
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 3); /* none */
	assert_int_equal(virtio_rig_read(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 100);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 256);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 0);
	assert_int_equal(queue->size, 128);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 8); /* not aligned */
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(virtio_rig_read(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0xfffffff0); /* wraps */
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0xffffffff);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_false(queue->enabled);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_true(queue->enabled);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 64); /* too late */
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	assert_true(queue->enabled);
	assert_int_equal(queue->size, 128);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 1, 2);	    /* half a field */
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 8, ~0ull); /* two fields */
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_NUMQ, 2, 9);	    /* read-only */
	assert_int_equal(virtio_rig_counter(rig, "guest_faults"), 11);
}

static void test_window(void **state)
{
	struct fixture *f = *state;
	struct virtio_rig *rig = &f->rig;
	uint16_t cap = f->probe->vp.cfg_cap;

#define WINDOW(what, len, value) pci_bus_config_write(rig->bus, 0, RIG_DEVFN, cap + (what), len, value)
	WINDOW(VIRTIO_PCI_CAP_BAR, 1, 0);
	WINDOW(VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_STATUS);
	WINDOW(VIRTIO_PCI_CAP_LENGTH, 4, 1);
	WINDOW(16, 4, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(virtio_rig_status(rig), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(pci_bus_config_read(rig->bus, 0, RIG_DEVFN, cap + 16, 1),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE);
	/* Where it may not point. */
	WINDOW(VIRTIO_PCI_CAP_OFFSET, 4, 0xfffffffc);
	WINDOW(VIRTIO_PCI_CAP_LENGTH, 4, 4);
	WINDOW(16, 4, 0xffffffff);
	pci_bus_config_read(rig->bus, 0, RIG_DEVFN, cap + 16, 4);
	WINDOW(VIRTIO_PCI_CAP_OFFSET, 4, 1);
	WINDOW(16, 4, 0xffffffff);
	WINDOW(VIRTIO_PCI_CAP_LENGTH, 4, 64);
	WINDOW(16, 4, 0xffffffff);
	assert_int_equal(virtio_rig_status(rig), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	/* Another BAR is not that of the registers, and only its data opens the window. */
	WINDOW(VIRTIO_PCI_CAP_BAR, 1, 1);
	WINDOW(VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_COMMON_STATUS);
	WINDOW(VIRTIO_PCI_CAP_LENGTH, 4, 1);
	WINDOW(16, 4, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	assert_int_equal(virtio_rig_status(rig), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	WINDOW(VIRTIO_PCI_CAP_BAR, 1, 0);
	pci_bus_config_write(rig->bus, 0, RIG_DEVFN, PCI_CACHE_LINE_SIZE, 1, 1);
	assert_int_equal(virtio_rig_status(rig), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	WINDOW(16, 4, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	assert_int_equal(virtio_rig_status(rig),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
#undef WINDOW
}

static void test_quiesce(void **state)
{
	struct fixture *f = *state;
	struct vring_driver vd;

	start(f, VIRTIO_MSI_NO_VECTOR, &vd);
	f->probe->slow_stop = true;
	assert_int_equal(virtio_pci_quiesce(&f->probe->vp), 0);
	assert_int_equal(f->probe->stops, 1);
	assert_int_equal(f->probe->waits, 1);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->probe->starts, 1); /* nothing starts by itself */
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(f->probe->vp.queues[0].base, 7);
	assert_int_equal(virtio_pci_resume(&f->probe->vp), 0);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->probe->starts, 2);

	virtio_pci_reset(&f->probe->vp);
	assert_int_equal(f->probe->stops, 2);
	assert_int_equal(f->rig.hv.ioeventfd_count, 0); /* BARs are no longer decoded */
	vring_driver_fini(&vd);
}

static void test_untimely(void **state)
{
	struct fixture *f = *state;
	struct vring_driver vd;

	assert_true(virtio_rig_negotiate(&f->rig, FEATURES));
	virtio_rig_queue(&f->rig, 0, 64, VIRTIO_MSI_NO_VECTOR, FEATURES, &vd);
	/* No notification before DRIVER_OK. */
	virtio_pci_notify_config(&f->probe->vp);
	assert_int_equal(f->probe->vp.counters.config_interrupts, 0);
	/* A driver that has given up starts nothing. */
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1,
			 virtio_rig_status(&f->rig) | VIRTIO_CONFIG_S_FAILED |
				 VIRTIO_CONFIG_S_DRIVER_OK);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->probe->starts, 0);
	virtio_pci_notify_config(&f->probe->vp);
	assert_int_equal(f->probe->vp.counters.config_interrupts, 1);
	vring_driver_fini(&vd);
}

/* A state that is sound but for one member. */
#define refuse(copy, state, member, value)                                                    \
	do {                                                                                  \
		struct virtio_pci_state bad = *(state);                                       \
		bad.member = (value);                                                         \
		assert_int_equal(virtio_pci_load(&(copy)->vp, &bad), -EINVAL);                \
	} while (0)

static void test_state(void **state)
{
	struct fixture *f = *state;
	static struct virtio_pci_state saved, again;
	struct virtio_rig other;
	struct probe *copy;
	struct vring_driver vd;

	virtio_rig_msix_on(&f->rig);
	start(f, 1, &vd);
	assert_int_equal(virtio_pci_quiesce(&f->probe->vp), 0);
	virtio_pci_save(&f->probe->vp, &saved);

	virtio_rig_init(&other);
	copy = probe_create(&other);
	virtio_rig_plug(&other, &copy->vp.pci);
	assert_int_equal(virtio_pci_quiesce(&copy->vp), 0);

	saved.queues[0].size = 100;
	assert_int_equal(virtio_pci_load(&copy->vp, &saved), -EINVAL);
	saved.queues[0].size = 64;
	saved.queues[0].vector = 4;
	assert_int_equal(virtio_pci_load(&copy->vp, &saved), -EINVAL);
	saved.queues[0].vector = 1;
	saved.acked |= 1ULL << 9;
	assert_int_equal(virtio_pci_load(&copy->vp, &saved), -EINVAL);
	saved.acked &= ~(1ULL << 9);
	refuse(copy, &saved, config_vector, 4);
	refuse(copy, &saved, status, saved.status & ~VIRTIO_CONFIG_S_FEATURES_OK);
	refuse(copy, &saved, queues[0].size, 2u * copy->vp.queues[0].max_size);
	refuse(copy, &saved, queues[0].enabled, 2);
	refuse(copy, &saved, queues[0].desc, saved.queues[0].desc + 8);
	refuse(copy, &saved, queues[0].driver, saved.queues[0].driver + 1);
	refuse(copy, &saved, queues[0].device, saved.queues[0].device + 2);
	assert_int_equal(virtio_rig_status(&other), 0);

	assert_int_equal(virtio_pci_load(&copy->vp, &saved), 0);
	virtio_pci_save(&copy->vp, &again);
	assert_memory_equal(&saved, &again, sizeof(saved));
	assert_int_equal(virtio_pci_resume(&copy->vp), 0);
	assert_true(virtio_rig_run_until(&other, probe_started, copy));
	assert_int_equal(copy->vp.queues[0].base, 7);
	assert_int_equal(eventfd_write(virtio_pci_call_fd(&copy->vp, &copy->vp.queues[0]), 1), 0);
	assert_int_equal(virtio_rig_messages(&other, 1), 1);
	virtio_rig_fini(&other);
	vring_driver_fini(&vd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features, setup, teardown),
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_at_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failing_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_doorbells, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_queues, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce, setup, teardown),
		cmocka_unit_test_setup_teardown(test_untimely, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
