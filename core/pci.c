#include "core/pci.h"

#include <errno.h>
#include <stdatomic.h>

#include "core/log.h"
#include "core/pci_tree.h"

/* Bits of the status register that are cleared by writing 1 (PCI 3.0 §6.2.3). */
#define STATUS_W1C                                                                        \
	(PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |  \
	 PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

void pci_device_init(struct pci_device *pci, const struct pci_id *id)
{
	memset(pci->config, 0, sizeof(pci->config));
	memset(pci->wmask, 0, sizeof(pci->wmask));
	memset(pci->w1cmask, 0, sizeof(pci->w1cmask));
	pci->bus = NULL;
	pci->cap_end = PCI_STD_HEADER_SIZEOF;
	pci->intx = (struct irq_line){0};

	put_le16(pci->config + PCI_VENDOR_ID, id->vendor);
	put_le16(pci->config + PCI_DEVICE_ID, id->device);
	put_le32(pci->config + PCI_CLASS_REVISION, id->class_code << 8 | id->revision);
	put_le16(pci->config + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	put_le16(pci->config + PCI_SUBSYSTEM_ID, id->subsystem);
	put_le16(pci->wmask + PCI_COMMAND,
		 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
			 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
	put_le16(pci->w1cmask + PCI_STATUS, STATUS_W1C);
	pci->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
}

void pci_device_set_bar(struct pci_device *pci, unsigned int bar, uint64_t size, bool io,
			bool is_64bit, bool prefetchable, const struct io_ops *ops, void *opaque)
{
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	uint32_t flags = io ? PCI_BASE_ADDRESS_SPACE_IO : 0;

	if (is_64bit)
		flags |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (prefetchable)
		flags |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	pci->bars[bar] = (struct pci_bar){
		.size = size,
		.io = io,
		.is_64bit = is_64bit,
		.prefetchable = prefetchable,
		.range = { .name = pci->dev.id, .size = size, .ops = ops, .opaque = opaque,
			   .lock = &pci->dev.lock },
		.changed = pci->bars[bar].changed,
	};
	put_le32(pci->config + reg, flags);
	put_le32(pci->wmask + reg, (uint32_t)~(size - 1));
	if (is_64bit)
		put_le32(pci->wmask + reg + 4, (uint32_t)(~(size - 1) >> 32));
}

void pci_device_set_pin(struct pci_device *pci, uint8_t pin)
{
	pci->config[PCI_INTERRUPT_PIN] = pin;
	pci->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

uint16_t pci_device_add_cap(struct pci_device *pci, uint8_t cap_id, uint8_t len)
{
	uint16_t at = ALIGN_UP(pci->cap_end, 4);
	uint16_t link = PCI_CAPABILITY_LIST;

	if (at + len > 256)
		return 0;
	while (pci->config[link])
		link = pci->config[link] + PCI_CAP_LIST_NEXT;
	pci->config[link] = (uint8_t)at;
	pci->config[at + PCI_CAP_LIST_ID] = cap_id;
	pci->config[at + PCI_CAP_LIST_NEXT] = 0;
	pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	pci->cap_end = at + len;
	return at;
}

static unsigned int config_size(const struct pci_device *pci)
{
	return pci->express ? PCI_CONFIG_SIZE : 256;
}

static bool touches(uint16_t offset, unsigned int len, unsigned int reg, unsigned int reg_len)
{
	return range_overlaps(offset, len, reg, reg_len);
}

uint32_t pci_device_config_read(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	uint32_t value = 0;

	if (!range_within(offset, len, config_size(pci)))
		return UINT32_MAX >> (32 - 8 * len);
	if (pci->config_reading)
		pci->config_reading(pci, offset, len);
	memcpy(&value, pci->config + offset, len);
	return value;
}

static void refresh_intx(struct pci_device *pci)
{
	bool disabled = get_le16(pci->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
	bool asserted = pci->config[PCI_STATUS] & PCI_STATUS_INTERRUPT;

	irq_line_set(&pci->intx, asserted && !disabled);
}

void pci_device_config_write(struct pci_device *pci, uint16_t offset, unsigned int len,
			     uint32_t value)
{
	if (!range_within(offset, len, config_size(pci)))
		return;
	for (unsigned int i = 0; i < len; i++) {
		uint8_t *reg = &pci->config[offset + i];
		uint8_t byte = (uint8_t)(value >> (8 * i));
		uint8_t wmask = pci->wmask[offset + i];

		*reg = (*reg & ~wmask) | (byte & wmask);
		*reg &= ~(byte & pci->w1cmask[offset + i]);
	}
	if (touches(offset, len, PCI_COMMAND, 2)) {
		refresh_intx(pci);
		pci_device_decode(pci);
	} else if (touches(offset, len, PCI_BASE_ADDRESS_0, 4 * PCI_BARS)) {
		pci_device_decode(pci);
	}
	if (pci->config_written)
		pci->config_written(pci, offset, len);
}

/* The address a BAR holds when it is to be decoded; 0 if not. Nothing decodes at 0. */
static uint64_t bar_target(const struct pci_device *pci, unsigned int i)
{
	const struct pci_bar *bar = &pci->bars[i];
	const uint8_t *reg = pci->config + PCI_BASE_ADDRESS_0 + 4 * i;
	uint16_t command = get_le16(pci->config + PCI_COMMAND);
	uint64_t addr = get_le32(reg);

	if (!bar->size || !pci->bus)
		return 0;
	if (!(command & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return 0;
	if (bar->is_64bit)
		addr |= (uint64_t)get_le32(reg + 4) << 32;
	addr &= ~(bar->size - 1);
	if (bar->io && !range_within(addr, bar->size, 0x10000))
		return 0;
	return pci_bus_forwards(pci->bus, bar->io, addr, bar->size) ? addr : 0;
}

static struct io_bus *bar_space(const struct pci_device *pci, const struct pci_bar *bar)
{
	return bar->io ? pci->bus->root->pio : pci->bus->root->mmio;
}

static void bar_unmap(struct pci_device *pci, unsigned int i)
{
	struct pci_bar *bar = &pci->bars[i];

	if (bar->range.ops)
		io_bus_remove(bar_space(pci, bar), &bar->range);
	bar->mapped = false;
	if (bar->changed)
		bar->changed(pci, i, false, bar->range.base);
}

static void bar_map(struct pci_device *pci, unsigned int i, uint64_t addr)
{
	struct pci_bar *bar = &pci->bars[i];

	bar->range.base = addr;
	if (bar->range.ops && io_bus_add(bar_space(pci, bar), &bar->range) < 0) {
		log_guest("%s: BAR %u at 0x%llx collides; it stays unmapped", pci->dev.id, i,
			  (unsigned long long)addr);
		return;
	}
	bar->mapped = true;
	if (bar->changed)
		bar->changed(pci, i, true, addr);
}

void pci_device_decode(struct pci_device *pci)
{
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &pci->bars[i];
		uint64_t addr = bar_target(pci, i);

		if (bar->mapped && bar->range.base == addr)
			continue;
		if (bar->mapped)
			bar_unmap(pci, i);
		if (addr)
			bar_map(pci, i, addr);
	}
}

void pci_device_reset(struct pci_device *pci)
{
	pci_device_set_intx(pci, false);
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE; i++)
		pci->config[i] &= ~(pci->wmask[i] | pci->w1cmask[i]);
	pci_device_decode(pci);
}

void pci_device_set_intx(struct pci_device *pci, bool level)
{
	if (level)
		pci->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		pci->config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
	refresh_intx(pci);
}

uint16_t pci_device_requester(const struct pci_device *pci)
{
	uint8_t bus = pci->bus ? atomic_load_explicit(&pci->bus->number, memory_order_relaxed) : 0;

	return (uint16_t)(bus << 8 | pci->devfn);
}

void pci_device_save(const struct pci_device *pci, struct pci_state *state)
{
	memcpy(state->config, pci->config, sizeof(state->config));
}

int pci_device_load(struct pci_device *pci, const struct pci_state *state)
{
	/* Another kind of function: its writable bits mean something else. */
	if (get_le32(state->config) != get_le32(pci->config) ||
	    state->config[PCI_HEADER_TYPE] != pci->config[PCI_HEADER_TYPE])
		return -EINVAL;
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t mask = pci->wmask[i] | pci->w1cmask[i];

		pci->config[i] = (pci->config[i] & ~mask) | (state->config[i] & mask);
	}
	refresh_intx(pci);
	pci_device_decode(pci);
	return 0;
}
