#include "core/pci_bus.h"

#include <errno.h>
#include <linux/pci.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/pci_tree.h"

struct pci_bus *pci_bus_create(const struct pci_host *host)
{
	struct pci_root *root = calloc(1, sizeof(*root));

	if (!root)
		return NULL;
	root->pio = host->pio;
	root->mmio = host->mmio;
	root->intx_set = host->intx_set;
	root->intx_sink = host->intx_sink;
	TAILQ_INIT(&root->buses);
	pthread_mutex_init(&root->intx_lock, NULL);
	pci_bus_setup(&root->bus0, root, NULL);
	return &root->bus0;
}

void pci_bus_destroy(struct pci_bus *bus)
{
	struct pci_root *root;

	if (!bus)
		return;
	root = bus->root;
	io_bus_remove(root->pio, &root->cf8_range);
	io_bus_remove(root->mmio, &root->ecam_range);
	pthread_mutex_destroy(&root->intx_lock);
	pci_bus_teardown(bus);
	free(root);
}

void pci_intx_swizzle(const struct pci_device *pci, unsigned int *slot, unsigned int *pin)
{
	*slot = PCI_SLOT(pci->devfn);
	while (pci->bus->bridge) {
		*pin = (*pin + *slot) % 4;
		pci = pci->bus->bridge;
		*slot = PCI_SLOT(pci->devfn);
	}
}

/* Wires are shared: the sink hears of the first that pulls and of the last that lets go. */
static void bus_intx_set(void *sink, unsigned int input, bool level)
{
	struct pci_root *root = sink;
	uint16_t *asserted = &root->intx_asserted[input];

	pthread_mutex_lock(&root->intx_lock);
	if (level ? (*asserted)++ == 0 : --(*asserted) == 0)
		if (root->intx_set)
			root->intx_set(root->intx_sink, input, level);
	pthread_mutex_unlock(&root->intx_lock);
}

/* A device has functions beyond 0: software looks for them only if function 0 says so. */
static void mark_multifunction(struct pci_bus *bus, unsigned int slot)
{
	struct pci_device *first = bus->devices[PCI_DEVFN_OF(slot, 0)];

	for (unsigned int fn = 1; first && fn < 8; fn++)
		if (bus->devices[PCI_DEVFN_OF(slot, fn)])
			first->config[PCI_HEADER_TYPE] |= 0x80;
}

int pci_bus_add(struct pci_bus *bus, struct pci_device *pci, uint8_t devfn)
{
	unsigned int slot, pin;

	if (bus->devices[devfn])
		return -EBUSY;
	/* A link has one device at its end. */
	if (bus->bridge && PCI_SLOT(devfn))
		return -EINVAL;
	pci->bus = bus;
	pci->devfn = devfn;
	bus->devices[devfn] = pci;
	mark_multifunction(bus, PCI_SLOT(devfn));
	if (pci->config[PCI_INTERRUPT_PIN]) {
		pin = pci->config[PCI_INTERRUPT_PIN] - 1u;
		pci_intx_swizzle(pci, &slot, &pin);
		pci->intx = (struct irq_line){ .set = bus_intx_set, .sink = bus->root,
					       .input = slot * 4 + pin };
	}
	pci_device_decode(pci);
	return 0;
}

void pci_bus_remove(struct pci_device *pci)
{
	struct pci_bus *bus = pci->bus;

	if (!bus)
		return;
	irq_line_set(&pci->intx, false);
	pci->intx = (struct irq_line){0};
	put_le16(pci->config + PCI_COMMAND, 0);
	pci_device_decode(pci);
	bus->devices[pci->devfn] = NULL;
	pci->bus = NULL;
}

struct pci_device *pci_bus_find(struct pci_bus *bus0, uint8_t number, uint8_t devfn)
{
	struct pci_bus *bus;

	if (!number)
		return bus0->devices[devfn];
	TAILQ_FOREACH(bus, &bus0->root->buses, link)
		if (atomic_load_explicit(&bus->number, memory_order_relaxed) == number)
			return bus->devices[devfn];
	return NULL;
}

uint32_t pci_bus_config_read(struct pci_bus *root, uint8_t bus, uint8_t devfn, uint16_t offset,
			     unsigned int len)
{
	struct pci_device *pci = pci_bus_find(root, bus, devfn);
	uint32_t value;

	if (!pci)
		return UINT32_MAX >> (32 - 8 * len);
	device_enter(&pci->dev);
	value = pci_device_config_read(pci, offset, len);
	device_leave(&pci->dev);
	return value;
}

void pci_bus_config_write(struct pci_bus *root, uint8_t bus, uint8_t devfn, uint16_t offset,
			  unsigned int len, uint32_t value)
{
	struct pci_device *pci = pci_bus_find(root, bus, devfn);

	if (!pci)
		return;
	device_enter(&pci->dev);
	pci_device_config_write(pci, offset, len, value);
	device_leave(&pci->dev);
}
