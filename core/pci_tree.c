#include "core/pci_tree.h"

void pci_bus_setup(struct pci_bus *bus, struct pci_root *root, struct pci_device *bridge)
{
	static const struct pci_span closed = { .base = 1, .limit = 0 };

	bus->root = root;
	bus->bridge = bridge;
	bus->io = bus->mem = bus->pref = closed;
	pthread_mutex_init(&bus->window_lock, NULL);
}

void pci_bus_teardown(struct pci_bus *bus)
{
	pthread_mutex_destroy(&bus->window_lock);
}

static bool span_holds(const struct pci_span *span, uint64_t addr, uint64_t size)
{
	return span->base <= span->limit && addr >= span->base &&
	       range_within(addr - span->base, size - 1, span->limit - span->base);
}

bool pci_bus_forwards(struct pci_bus *bus, bool io, uint64_t addr, uint64_t size)
{
	bool holds;

	if (!bus->bridge)
		return true;
	pthread_mutex_lock(&bus->window_lock);
	if (io)
		holds = span_holds(&bus->io, addr, size);
	else
		holds = span_holds(&bus->mem, addr, size) || span_holds(&bus->pref, addr, size);
	pthread_mutex_unlock(&bus->window_lock);
	return holds;
}
