#include "tests/unit/vhost-user/virtio_rig.h"

#include <stdlib.h>
#include <stdio.h>

/* A test's own mistake or an exhausted host: nothing to go on with. */
#define rig_check(x)                                                                \
	do {                                                                        \
		if (!(x)) {                                                         \
			fprintf(stderr, "virtio_rig: line %d: %s\n", __LINE__, #x); \
			abort();                                                    \
		}                                                                   \
	} while (0)

static void intx_set(void *sink, unsigned int input, bool level)
{
	struct virtio_rig *rig = sink;

	rig_check(input == (RIG_DEVFN >> 3) * 4);
	rig->intx = level;
}

void virtio_rig_init(struct virtio_rig *rig)
{
	virtio_rig_init_sized(rig, RIG_MEMORY);
}

void virtio_rig_init_sized(struct virtio_rig *rig, uint64_t memory)
{
	const struct mem_slot_request slot = {
		.size = memory, .page_size = 4 * KIB, .name = "rig"};
	struct pci_host host = {.intx_set = intx_set, .intx_sink = rig};
	char why[256];

	memset(rig, 0, sizeof(*rig));
	fake_hypervisor_init(&rig->hv);
	rig->loop = loop_create();
	rig->memory = guest_memory_create();
	rig->pio = io_bus_create("pio");
	rig->mmio = io_bus_create("mmio");
	rig_check(rig->loop && rig->memory && rig->pio && rig->mmio);
	host.pio = rig->pio;
	host.mmio = rig->mmio;
	rig->bus = pci_bus_create(&host);
	rig_check(rig->bus);
	rig_check(guest_memory_add_slot(rig->memory, &slot, why, sizeof(why)) == 0);
	rig_check(dma_space_create_identity(rig->memory, "rig", &rig->space) == 0);
	rig->size = memory;
	rig->next_free = 64 * KIB;
}

void virtio_rig_fini(struct virtio_rig *rig)
{
	if (rig->pci) {
		pci_bus_remove(rig->pci);
		rig->pci->dev.ops->destroy(&rig->pci->dev);
	}
	pci_bus_destroy(rig->bus);
	io_bus_destroy(rig->pio);
	io_bus_destroy(rig->mmio);
	dma_space_destroy(rig->space);
	guest_memory_destroy(rig->memory);
	loop_destroy(rig->loop);
}

static void config_write(struct virtio_rig *rig, uint16_t offset, unsigned int len, uint32_t value)
{
	pci_bus_config_write(rig->bus, 0, RIG_DEVFN, offset, len, value);
}

static uint32_t config_read(struct virtio_rig *rig, uint16_t offset, unsigned int len)
{
	return pci_bus_config_read(rig->bus, 0, RIG_DEVFN, offset, len);
}

static uint16_t find_cap(struct virtio_rig *rig, uint8_t id, int cfg_type)
{
	uint16_t cap = (uint16_t)config_read(rig, PCI_CAPABILITY_LIST, 1);

	for (unsigned int n = 0; cap && n < 48; n++) {
		if (config_read(rig, cap, 1) == id &&
		    (cfg_type < 0 ||
		     config_read(rig, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1) == (uint32_t)cfg_type))
			return cap;
		cap = (uint16_t)config_read(rig, cap + PCI_CAP_LIST_NEXT, 1);
	}
	return 0;
}

void virtio_rig_plug_again(struct virtio_rig *rig)
{
	config_write(rig, PCI_COMMAND, 2, 0);
	config_write(rig, PCI_BASE_ADDRESS_0, 4, RIG_REGISTERS);
	config_write(rig, PCI_BASE_ADDRESS_1, 4, RIG_MSIX);
	config_write(rig, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void virtio_rig_plug(struct virtio_rig *rig, struct pci_device *pci)
{
	uint16_t cap;

	rig->pci = pci;
	rig_check(pci_bus_add(rig->bus, pci, RIG_DEVFN) == 0);
	virtio_rig_plug_again(rig);
	cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);
	rig_check(cap);
	rig->notify_off = config_read(rig, cap + VIRTIO_PCI_CAP_OFFSET, 4);
}

struct wait {
	struct virtio_rig *rig;
	struct loop_timer *timer;
	bool (*done)(void *opaque);
	void *opaque;
	uint64_t tick_ns;
	unsigned int left;
	bool reached;
};

static void wait_tick(void *opaque)
{
	struct wait *wait = opaque;

	fake_hypervisor_poll(&wait->rig->hv);
	wait->reached = wait->done(wait->opaque);
	if (wait->reached || !wait->left--)
		loop_stop(wait->rig->loop);
	else
		rig_check(loop_timer_arm(wait->timer, wait->tick_ns) == 0);
}

static bool run(struct wait *wait)
{
	wait->timer = loop_timer_create(wait->rig->loop, wait_tick, wait);
	rig_check(wait->timer && loop_timer_arm(wait->timer, 0) == 0);
	loop_run(wait->rig->loop);
	loop_timer_destroy(wait->timer);
	return wait->reached;
}

bool virtio_rig_run_until(struct virtio_rig *rig, bool (*done)(void *opaque), void *opaque)
{
	struct wait wait = {.rig = rig,
			    .done = done,
			    .opaque = opaque,
			    .tick_ns = 1000000,
			    .left = RIG_WAIT_MS};

	return run(&wait);
}

static bool never(void *opaque)
{
	return false;
}

void virtio_rig_settle(struct virtio_rig *rig)
{
	/* Turns of the loop, not time: a busy machine makes no difference. */
	struct wait wait = {.rig = rig, .done = never, .left = 200};

	run(&wait);
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

void virtio_rig_turn(struct virtio_rig *rig)
{
	/* A stop may come before what is ready, and what is done may make more ready: from a status
	 * write to a ring's first pass there are three steps. */
	for (unsigned int i = 0; i < 5; i++) {
		rig_check(loop_post(rig->loop, stop, rig->loop) == 0);
		loop_run(rig->loop);
	}
	fake_hypervisor_poll(&rig->hv);
}

uint64_t virtio_rig_read(struct virtio_rig *rig, uint64_t offset, unsigned int size)
{
	uint64_t value;

	rig_check(io_bus_read(rig->mmio, RIG_REGISTERS + offset, size, &value));
	return value;
}

void virtio_rig_write(struct virtio_rig *rig, uint64_t offset, unsigned int size, uint64_t value)
{
	rig_check(io_bus_write(rig->mmio, RIG_REGISTERS + offset, size, value));
}

uint64_t virtio_rig_config(struct virtio_rig *rig, uint64_t offset, unsigned int size)
{
	uint16_t cap = find_cap(rig, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_DEVICE_CFG);

	return virtio_rig_read(rig, config_read(rig, cap + VIRTIO_PCI_CAP_OFFSET, 4) + offset, size);
}

gpa_t virtio_rig_alloc(struct virtio_rig *rig, uint64_t size, uint64_t align)
{
	gpa_t gpa = ALIGN_UP(rig->next_free, align);

	rig_check(gpa + size <= rig->size);
	rig->next_free = gpa + size;
	memset(virtio_rig_ptr(rig, gpa), 0, size);
	return gpa;
}

void *virtio_rig_ptr(struct virtio_rig *rig, gpa_t gpa)
{
	void *p = guest_memory_ptr(rig->memory, gpa, 1);

	rig_check(p);
	return p;
}

uint64_t virtio_rig_features(struct virtio_rig *rig)
{
	uint64_t low;

	virtio_rig_write(rig, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	low = virtio_rig_read(rig, VIRTIO_PCI_COMMON_DF, 4);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	return low | virtio_rig_read(rig, VIRTIO_PCI_COMMON_DF, 4) << 32;
}

uint8_t virtio_rig_status(struct virtio_rig *rig)
{
	return (uint8_t)virtio_rig_read(rig, VIRTIO_PCI_COMMON_STATUS, 1);
}

static bool status_is_zero(void *opaque)
{
	return virtio_rig_status(opaque) == 0;
}

bool virtio_rig_reset(struct virtio_rig *rig)
{
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	return virtio_rig_run_until(rig, status_is_zero, rig);
}

bool virtio_rig_negotiate(struct virtio_rig *rig, uint64_t features)
{
	const uint8_t driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	rig_check(virtio_rig_reset(rig));
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_STATUS, 1, driver);
	for (unsigned int i = 0; i < 2; i++) {
		virtio_rig_write(rig, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		virtio_rig_write(rig, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * i));
	}
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_STATUS, 1, driver | VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio_rig_status(rig) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static void write_address(struct virtio_rig *rig, uint64_t offset, uint64_t address)
{
	virtio_rig_write(rig, offset, 4, (uint32_t)address);
	virtio_rig_write(rig, offset + 4, 4, address >> 32);
}

void virtio_rig_queue(struct virtio_rig *rig, unsigned int index, uint32_t size, uint16_t vector,
		      uint64_t features, struct vring_driver *vd)
{
	gpa_t at = virtio_rig_alloc(rig, vring_driver_bytes(size), 4096);

	rig_check(vring_driver_init(vd, size, virtio_rig_ptr(rig, at), at, features) == 0);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
	write_address(rig, VIRTIO_PCI_COMMON_Q_DESCLO, vd->addrs.desc);
	write_address(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, vd->addrs.avail);
	write_address(rig, VIRTIO_PCI_COMMON_Q_USEDLO, vd->addrs.used);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void virtio_rig_driver_ok(struct virtio_rig *rig)
{
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_STATUS, 1,
			 virtio_rig_status(rig) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_rig_msix_on(struct virtio_rig *rig)
{
	uint16_t cap = find_cap(rig, PCI_CAP_ID_MSIX, -1);
	unsigned int vectors = (config_read(rig, cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;

	for (unsigned int i = 0; i < vectors; i++) {
		uint64_t entry = RIG_MSIX + i * PCI_MSIX_ENTRY_SIZE;

		rig_check(io_bus_write(rig->mmio, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4, 0xfee00000));
		rig_check(io_bus_write(rig->mmio, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0));
		rig_check(io_bus_write(rig->mmio, entry + PCI_MSIX_ENTRY_DATA, 4, i));
		rig_check(io_bus_write(rig->mmio, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0));
	}
	config_write(rig, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

unsigned int virtio_rig_messages(struct virtio_rig *rig, uint32_t data)
{
	unsigned int n = 0;

	fake_hypervisor_poll(&rig->hv);
	for (unsigned int i = 0; i < MIN(rig->hv.message_count, FAKE_MESSAGES); i++)
		n += rig->hv.messages[i].data == data;
	return n;
}

void virtio_rig_kick(struct virtio_rig *rig, unsigned int index, struct vring_driver *vd)
{
	vring_driver_publish(vd);
	if (vring_driver_should_kick(vd))
		rig_check(fake_hypervisor_io_write(&rig->hv, false,
						   RIG_REGISTERS + rig->notify_off + 4 * index, 2,
						   index));
}

struct counter_search {
	const char *name;
	uint64_t value;
	bool found;
};

static void counter_seen(void *opaque, const char *name, uint64_t value)
{
	struct counter_search *search = opaque;

	if (!strcmp(name, search->name)) {
		search->value = value;
		search->found = true;
	}
}

uint64_t virtio_rig_counter(struct virtio_rig *rig, const char *name)
{
	struct counter_search search = {.name = name};

	rig->pci->dev.ops->counters(&rig->pci->dev, counter_seen, &search);
	rig_check(search.found);
	return search.value;
}
