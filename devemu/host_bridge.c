#include "devemu/host_bridge.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/log.h"

/* Intel 3 Series data sheet §5.1 */
#define MCH_PCIEXBAR	      0x60u
#define PCIEXBAR_ENABLE	      0x01u
#define PCIEXBAR_LENGTH_SHIFT 1u
#define PCIEXBAR_LENGTH_MASK  0x3u
#define MCH_PAM		      0x90u
#define MCH_PAM_COUNT	      7u
#define MCH_SMRAM	      0x9du

/* Version 1. */
struct host_bridge_state {
	struct pci_state pci;
	uint32_t cf8;
};

struct host_bridge {
	struct pci_device pci;
	struct pci_bus *bus;
	uint64_t firmware_pciexbar;
	_Atomic uint64_t ecam_refused;
};

static unsigned int ecam_buses_of(uint64_t pciexbar)
{
	static const uint16_t buses[] = { 256, 128, 64, 0 /* reserved */ };

	return buses[(pciexbar >> PCIEXBAR_LENGTH_SHIFT) & PCIEXBAR_LENGTH_MASK];
}

/* Moves the window to where PCIEXBAR says; unused address bits depend on its length. */
static void follow_pciexbar(struct host_bridge *hb)
{
	uint64_t reg = get_le64(hb->pci.config + MCH_PCIEXBAR);
	unsigned int buses = ecam_buses_of(reg);
	uint64_t size = (uint64_t)buses << 20;
	bool on = (reg & PCIEXBAR_ENABLE) && buses;
	gpa_t base = on ? ALIGN_DOWN(reg & 0xfffffffffULL, size) : 0;
	int err = pci_bus_set_ecam(hb->bus, base, buses);

	if (err < 0) {
		atomic_fetch_add_explicit(&hb->ecam_refused, 1, memory_order_relaxed);
		log_guest("%s: the ECAM window cannot be at 0x%llx: %s", hb->pci.dev.id,
			  (unsigned long long)base, strerror(-err));
	}
}

static void bridge_config_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	if (range_overlaps(offset, len, MCH_PCIEXBAR, 8))
		follow_pciexbar(container_of(pci, struct host_bridge, pci));
}

static void bridge_reset(struct device *dev)
{
	struct host_bridge *hb = container_of(dev, struct host_bridge, pci.dev);

	pci_device_reset(&hb->pci);
	put_le64(hb->pci.config + MCH_PCIEXBAR, hb->firmware_pciexbar);
	pci_bus_set_cf8(hb->bus, 0);
	follow_pciexbar(hb);
}

static void bridge_save(struct device *dev, void *state)
{
	struct host_bridge *hb = container_of(dev, struct host_bridge, pci.dev);
	struct host_bridge_state *s = state;

	pci_device_save(&hb->pci, &s->pci);
	s->cf8 = pci_bus_cf8(hb->bus);
}

static int bridge_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct host_bridge *hb = container_of(dev, struct host_bridge, pci.dev);
	const struct host_bridge_state *s = state;
	int err;

	if (version != 1 || size != sizeof(*s))
		return -EINVAL;
	err = pci_device_load(&hb->pci, &s->pci);
	if (err)
		return err;
	pci_bus_set_cf8(hb->bus, s->cf8);
	follow_pciexbar(hb);
	return 0;
}

static void bridge_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct host_bridge *hb = container_of(dev, struct host_bridge, pci.dev);

	emit(opaque, "ecam_refused", atomic_load_explicit(&hb->ecam_refused, memory_order_relaxed));
}

static void bridge_destroy(struct device *dev)
{
	struct host_bridge *hb = container_of(dev, struct host_bridge, pci.dev);

	if (pci_bus_set_ecam(hb->bus, 0, 0) < 0)
		log_debug("%s: the ECAM window stays", dev->id);
	pci_bus_remove(&hb->pci);
	device_fini(dev);
	free(hb);
}

static const struct device_ops bridge_ops = {
	.type = "host-bridge",
	.reset = bridge_reset,
	.state_version = 1,
	.state_size = sizeof(struct host_bridge_state),
	.save = bridge_save,
	.load = bridge_load,
	.counters = bridge_counters,
	.destroy = bridge_destroy,
};

static uint64_t firmware_value(const struct host_bridge_config *config)
{
	uint64_t length = config->ecam_buses == 256 ? 0 : config->ecam_buses == 128 ? 1 : 2;

	return config->ecam_base ?
		       config->ecam_base | length << PCIEXBAR_LENGTH_SHIFT | PCIEXBAR_ENABLE : 0;
}

int host_bridge_create(const struct host_bridge_config *config, struct host_bridge **out)
{
	static const struct pci_id id = {
		.vendor = 0x8086, .device = 0x29c0, .class_code = 0x060000, .revision = 2,
	};
	struct host_bridge *hb = calloc(1, sizeof(*hb));
	int err;

	if (!hb)
		return -ENOMEM;
	device_init(&hb->pci.dev, config->id, &bridge_ops);
	pci_device_init(&hb->pci, &id);
	hb->bus = config->bus;
	hb->firmware_pciexbar = firmware_value(config);
	hb->pci.config_written = bridge_config_written;
	/* Base 35:26, length 2:1, enable 0. */
	put_le64(hb->pci.wmask + MCH_PCIEXBAR, 0xffc000007ULL);
	hb->pci.wmask[MCH_PAM] = 0x30;
	memset(hb->pci.wmask + MCH_PAM + 1, 0x33, MCH_PAM_COUNT - 1);
	hb->pci.wmask[MCH_SMRAM] = 0x78;
	err = pci_bus_add(config->bus, &hb->pci, 0);
	if (err) {
		device_fini(&hb->pci.dev);
		free(hb);
		return err;
	}
	bridge_reset(&hb->pci.dev);
	*out = hb;
	return 0;
}

struct device *host_bridge_device(struct host_bridge *hb)
{
	return &hb->pci.dev;
}
