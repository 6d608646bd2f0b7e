#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/pci_bus.h"
#include "core/pci_tree.h"

#define ROOT_PORT_VENDOR 0x8086u
#define ROOT_PORT_DEVICE 0x2940u /* ICH9 PCI Express port: what a Q35 board has */
#define ROOT_PORT_CAP_SIZE 0x3c	 /* version 2 of the PCI Express capability */

struct pci_root_port {
	struct pci_device pci;
	struct pci_bus secondary;
	uint16_t cap; /* PCI Express capability */
};

/* Version 1 of the port's state. */
struct root_port_state {
	struct pci_state pci;
};

/* Reads the bridge's windows (PCI-to-PCI Bridge 1.2 §3.2.5) and lets the children follow. */
static void root_port_follow(struct pci_root_port *port)
{
	const uint8_t *c = port->pci.config;
	uint16_t command = get_le16(c + PCI_COMMAND);
	struct pci_bus *bus = &port->secondary;
	struct pci_span closed = { .base = 1, .limit = 0 };
	struct pci_span io = closed, mem = closed, pref = closed;

	if (command & PCI_COMMAND_IO) {
		io.base = (c[PCI_IO_BASE] & 0xf0u) << 8;
		io.limit = (c[PCI_IO_LIMIT] & 0xf0u) << 8 | 0xfff;
	}
	if (command & PCI_COMMAND_MEMORY) {
		mem.base = (uint64_t)(get_le16(c + PCI_MEMORY_BASE) & 0xfff0u) << 16;
		mem.limit = (uint64_t)(get_le16(c + PCI_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff;
		pref.base = (uint64_t)get_le32(c + PCI_PREF_BASE_UPPER32) << 32 |
			    (uint64_t)(get_le16(c + PCI_PREF_MEMORY_BASE) & 0xfff0u) << 16;
		pref.limit = (uint64_t)get_le32(c + PCI_PREF_LIMIT_UPPER32) << 32 |
			     (uint64_t)(get_le16(c + PCI_PREF_MEMORY_LIMIT) & 0xfff0u) << 16 |
			     0xfffff;
	}
	pthread_mutex_lock(&bus->window_lock);
	bus->io = io;
	bus->mem = mem;
	bus->pref = pref;
	pthread_mutex_unlock(&bus->window_lock);
	atomic_store_explicit(&bus->number, c[PCI_SECONDARY_BUS], memory_order_relaxed);

	for (unsigned int fn = 0; fn < 8; fn++) {
		struct pci_device *child = bus->devices[fn];

		if (!child)
			continue;
		device_enter(&child->dev);
		pci_device_decode(child);
		device_leave(&child->dev);
	}
}

static void root_port_config_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	struct pci_root_port *port = container_of(pci, struct pci_root_port, pci);

	if (range_overlaps(offset, len, PCI_COMMAND, 2) ||
	    range_overlaps(offset, len, PCI_PRIMARY_BUS, PCI_IO_LIMIT_UPPER16 - PCI_PRIMARY_BUS))
		root_port_follow(port);
}

/* Presence and link state follow what is plugged in. */
static void root_port_config_reading(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	struct pci_root_port *port = container_of(pci, struct pci_root_port, pci);
	uint8_t *cap = pci->config + port->cap;
	bool occupied = port->secondary.devices[0];

	put_le16(cap + PCI_EXP_SLTSTA, occupied ? PCI_EXP_SLTSTA_PDS : 0);
	put_le16(cap + PCI_EXP_LNKSTA, occupied ? PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1 |
							  PCI_EXP_LNKSTA_DLLLA :
						  PCI_EXP_LNKSTA_CLS_2_5GB);
}

static void root_port_reset(struct device *dev)
{
	struct pci_root_port *port = container_of(dev, struct pci_root_port, pci.dev);

	pci_device_reset(&port->pci);
	root_port_follow(port);
}

static void root_port_save(struct device *dev, void *state)
{
	struct pci_root_port *port = container_of(dev, struct pci_root_port, pci.dev);
	struct root_port_state *s = state;

	pci_device_save(&port->pci, &s->pci);
}

static int root_port_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct pci_root_port *port = container_of(dev, struct pci_root_port, pci.dev);
	const struct root_port_state *s = state;
	int err;

	if (version != 1 || size != sizeof(*s))
		return -EINVAL;
	err = pci_device_load(&port->pci, &s->pci);
	if (!err)
		root_port_follow(port);
	return err;
}

static void root_port_destroy(struct device *dev)
{
	struct pci_root_port *port = container_of(dev, struct pci_root_port, pci.dev);

	TAILQ_REMOVE(&port->secondary.root->buses, &port->secondary, link);
	pci_bus_remove(&port->pci);
	pci_bus_teardown(&port->secondary);
	device_fini(dev);
	free(port);
}

static const struct device_ops root_port_ops = {
	.type = "pcie-root-port",
	.reset = root_port_reset,
	.state_version = 1,
	.state_size = sizeof(struct root_port_state),
	.save = root_port_save,
	.load = root_port_load,
	.destroy = root_port_destroy,
};

static void init_bridge_header(struct pci_device *pci)
{
	pci->config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	/* A type 1 header keeps its subsystem in a capability, not here. */
	put_le32(pci->config + PCI_SUBSYSTEM_VENDOR_ID, 0);
	memset(pci->wmask + PCI_PRIMARY_BUS, 0xff, 3);
	pci->wmask[PCI_IO_BASE] = pci->wmask[PCI_IO_LIMIT] = 0xf0;
	put_le16(pci->w1cmask + PCI_SEC_STATUS, 0xf900);
	put_le16(pci->wmask + PCI_MEMORY_BASE, 0xfff0);
	put_le16(pci->wmask + PCI_MEMORY_LIMIT, 0xfff0);
	put_le16(pci->wmask + PCI_PREF_MEMORY_BASE, 0xfff0);
	put_le16(pci->wmask + PCI_PREF_MEMORY_LIMIT, 0xfff0);
	pci->config[PCI_PREF_MEMORY_BASE] = PCI_PREF_RANGE_TYPE_64;
	pci->config[PCI_PREF_MEMORY_LIMIT] = PCI_PREF_RANGE_TYPE_64;
	put_le32(pci->wmask + PCI_PREF_BASE_UPPER32, UINT32_MAX);
	put_le32(pci->wmask + PCI_PREF_LIMIT_UPPER32, UINT32_MAX);
	put_le16(pci->wmask + PCI_BRIDGE_CONTROL,
		 PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_ISA |
			 PCI_BRIDGE_CTL_BUS_RESET);
}

/* PCI Express Base 4.0 §7.5.3; no hot-plug elements in the slot. */
static void init_express_cap(struct pci_root_port *port, uint8_t number)
{
	struct pci_device *pci = &port->pci;
	uint16_t at = pci_device_add_cap(pci, PCI_CAP_ID_EXP, ROOT_PORT_CAP_SIZE);
	uint8_t *cap = pci->config + at, *wmask = pci->wmask + at, *w1c = pci->w1cmask + at;

	port->cap = at;
	put_le16(cap + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT);
	put_le32(cap + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER);
	put_le16(wmask + PCI_EXP_DEVCTL, 0x70ff);
	put_le16(w1c + PCI_EXP_DEVSTA, 0x000f);
	put_le32(cap + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 | PCI_EXP_LNKCAP_DLLLARC |
					       (uint32_t)number << 24);
	put_le16(wmask + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_CCC);
	put_le32(cap + PCI_EXP_SLTCAP, (uint32_t)number << 19);
	put_le16(wmask + PCI_EXP_RTCTL, 0x000f);
	put_le32(w1c + PCI_EXP_RTSTA, PCI_EXP_RTSTA_PME);
	put_le32(cap + PCI_EXP_LNKCAP2, PCI_EXP_LNKCAP2_SLS_2_5GB);
	put_le16(cap + PCI_EXP_LNKCTL2, 1);
}

int pci_root_port_create(struct pci_bus *root, uint8_t devfn, const char *id, uint8_t port_number,
			 struct pci_root_port **out)
{
	static const struct pci_id pci_id = {
		.vendor = ROOT_PORT_VENDOR, .device = ROOT_PORT_DEVICE, .class_code = 0x060400,
		.revision = 2,
	};
	struct pci_root_port *port = calloc(1, sizeof(*port));
	int err;

	if (!port)
		return -ENOMEM;
	device_init(&port->pci.dev, id, &root_port_ops);
	pci_device_init(&port->pci, &pci_id);
	port->pci.express = true;
	port->pci.config_written = root_port_config_written;
	port->pci.config_reading = root_port_config_reading;
	init_bridge_header(&port->pci);
	pci_device_set_pin(&port->pci, 1);
	init_express_cap(port, port_number);
	err = pci_bus_add(root, &port->pci, devfn);
	if (err) {
		device_fini(&port->pci.dev);
		free(port);
		return err;
	}
	pci_bus_setup(&port->secondary, root->root, &port->pci);
	TAILQ_INSERT_TAIL(&root->root->buses, &port->secondary, link);
	*out = port;
	return 0;
}

struct pci_bus *pci_root_port_bus(struct pci_root_port *port)
{
	return &port->secondary;
}

struct device *pci_root_port_device(struct pci_root_port *port)
{
	return &port->pci.dev;
}
