/* Resource assignment where no firmware does it: what a guest finds when it starts. */
#include <errno.h>

#include "core/pci_bus.h"
#include "core/pci_tree.h"

enum space { SPACE_IO, SPACE_MEM32, SPACE_MEM64, SPACES };

/* A bump allocator a space. */
struct assignment {
	uint64_t next[SPACES];
	uint64_t end[SPACES]; /* exclusive */
	uint8_t (*irq_of)(void *opaque, unsigned int slot, unsigned int pin);
	void *opaque;
};

static void config_write(struct pci_device *pci, uint16_t reg, unsigned int len, uint32_t value)
{
	device_enter(&pci->dev);
	pci_device_config_write(pci, reg, len, value);
	device_leave(&pci->dev);
}

/* Only a prefetchable 64-bit BAR fits a bridge's window above 4 GiB. */
static enum space bar_space_of(const struct assignment *as, const struct pci_bar *bar)
{
	if (bar->io)
		return SPACE_IO;
	return bar->is_64bit && bar->prefetchable && as->end[SPACE_MEM64] ? SPACE_MEM64 :
									    SPACE_MEM32;
}

static int take(struct assignment *as, enum space space, uint64_t size, uint64_t align,
		uint64_t *base)
{
	*base = ALIGN_UP(as->next[space], align);
	if (*base < as->next[space] || *base > as->end[space] ||
	    size > as->end[space] - *base)
		return -ENOSPC;
	as->next[space] = *base + size;
	return 0;
}

static int assign_bar(struct assignment *as, struct pci_device *pci, unsigned int i)
{
	const struct pci_bar *bar = &pci->bars[i];
	uint16_t reg = (uint16_t)(PCI_BASE_ADDRESS_0 + 4 * i);
	uint64_t base;
	int err = take(as, bar_space_of(as, bar), bar->size, bar->size, &base);

	if (err)
		return err;
	config_write(pci, reg, 4, (uint32_t)base);
	if (bar->is_64bit)
		config_write(pci, reg + 4, 4, (uint32_t)(base >> 32));
	return 0;
}

/* All BARs of one space on one bus, the largest first, so that alignment wastes nothing. */
static int assign_bus(struct assignment *as, struct pci_bus *bus, enum space space)
{
	int err;

	for (unsigned int shift = 63; shift >= 2; shift--) {
		for (unsigned int devfn = 0; devfn < PCI_DEVFNS; devfn++) {
			struct pci_device *pci = bus->devices[devfn];

			for (unsigned int i = 0; pci && i < PCI_BARS; i++) {
				const struct pci_bar *bar = &pci->bars[i];

				if (bar->size != 1ULL << shift || bar_space_of(as, bar) != space)
					continue;
				err = assign_bar(as, pci, i);
				if (err)
					return err;
			}
		}
	}
	return 0;
}

static void write_window(struct pci_device *bridge, enum space space, uint64_t base,
			 uint64_t limit)
{
	switch (space) {
	case SPACE_IO:
		config_write(bridge, PCI_IO_BASE, 1, (uint32_t)(base >> 8));
		config_write(bridge, PCI_IO_LIMIT, 1, (uint32_t)(limit >> 8));
		break;
	case SPACE_MEM32:
		config_write(bridge, PCI_MEMORY_BASE, 2, (uint32_t)(base >> 16));
		config_write(bridge, PCI_MEMORY_LIMIT, 2, (uint32_t)(limit >> 16));
		break;
	default:
		config_write(bridge, PCI_PREF_MEMORY_BASE, 2, (uint32_t)(base >> 16));
		config_write(bridge, PCI_PREF_MEMORY_LIMIT, 2, (uint32_t)(limit >> 16));
		config_write(bridge, PCI_PREF_BASE_UPPER32, 4, (uint32_t)(base >> 32));
		config_write(bridge, PCI_PREF_LIMIT_UPPER32, 4, (uint32_t)(limit >> 32));
		break;
	}
}

static bool bus_wants(const struct assignment *as, const struct pci_bus *bus, enum space space)
{
	for (unsigned int devfn = 0; devfn < PCI_DEVFNS; devfn++)
		for (unsigned int i = 0; bus->devices[devfn] && i < PCI_BARS; i++) {
			const struct pci_bar *bar = &bus->devices[devfn]->bars[i];

			if (bar->size && bar_space_of(as, bar) == space)
				return true;
		}
	return false;
}

/* A bridge's window comes in granules; an empty one is closed (limit below base). */
static int assign_window(struct assignment *as, struct pci_bus *bus, enum space space)
{
	uint64_t granule = space == SPACE_IO ? 4 * KIB : MIB;
	uint64_t base, end;
	int err;

	if (!bus_wants(as, bus, space)) {
		write_window(bus->bridge, space, space == SPACE_IO ? 0xf000 : 0xfff00000, 0);
		return 0;
	}
	err = take(as, space, 0, granule, &base);
	if (!err)
		err = assign_bus(as, bus, space);
	if (!err)
		err = take(as, space, 0, granule, &end);
	if (!err)
		write_window(bus->bridge, space, base, end - 1);
	return err;
}

static void enable_devices(struct assignment *as, struct pci_bus *bus)
{
	for (unsigned int devfn = 0; devfn < PCI_DEVFNS; devfn++) {
		struct pci_device *pci = bus->devices[devfn];
		uint16_t command = 0;
		unsigned int slot, pin;

		if (!pci)
			continue;
		for (unsigned int i = 0; i < PCI_BARS; i++)
			if (pci->bars[i].size)
				command |= pci->bars[i].io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
		if (pci->config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_BRIDGE)
			command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
		if (pci->config[PCI_INTERRUPT_PIN] && as->irq_of) {
			pin = pci->config[PCI_INTERRUPT_PIN] - 1u;
			pci_intx_swizzle(pci, &slot, &pin);
			config_write(pci, PCI_INTERRUPT_LINE, 1,
				     as->irq_of(as->opaque, slot, pin));
		}
		if (command)
			config_write(pci, PCI_COMMAND, 2, command);
	}
}

/* Nothing may decode while addresses are in flux. */
static void silence_devices(struct pci_bus *bus)
{
	for (unsigned int devfn = 0; devfn < PCI_DEVFNS; devfn++)
		if (bus->devices[devfn])
			config_write(bus->devices[devfn], PCI_COMMAND, 2, 0);
}

static void number_bus(struct pci_bus *bus, uint8_t number)
{
	config_write(bus->bridge, PCI_PRIMARY_BUS, 1, 0);
	config_write(bus->bridge, PCI_SECONDARY_BUS, 1, number);
	config_write(bus->bridge, PCI_SUBORDINATE_BUS, 1, number);
}

int pci_bus_assign(struct pci_bus *root, const struct pci_windows *w,
		   uint8_t (*irq_of)(void *opaque, unsigned int slot, unsigned int pin),
		   void *opaque)
{
	struct assignment as = {
		.next = { w->io_base, w->mmio32_base, w->mmio64_base },
		.end = { w->io_base + w->io_size, w->mmio32_base + w->mmio32_size,
			 w->mmio64_size ? w->mmio64_base + w->mmio64_size : 0 },
		.irq_of = irq_of,
		.opaque = opaque,
	};
	struct pci_bus *bus;
	uint8_t number = 1;
	int err;

	silence_devices(root);
	TAILQ_FOREACH(bus, &root->root->buses, link) {
		silence_devices(bus);
		number_bus(bus, number++);
	}
	for (unsigned int space = 0; space < SPACES; space++) {
		err = assign_bus(&as, root, space);
		if (err)
			return err;
		TAILQ_FOREACH(bus, &root->root->buses, link) {
			err = assign_window(&as, bus, space);
			if (err)
				return err;
		}
	}
	TAILQ_FOREACH(bus, &root->root->buses, link)
		enable_devices(&as, bus);
	enable_devices(&as, root);
	return 0;
}
