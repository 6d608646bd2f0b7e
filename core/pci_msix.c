#include "core/pci_msix.h"

#include <errno.h>
#include <stdlib.h>

#include "core/log.h"

#define ENTRY_ADDR_LOW	0u
#define ENTRY_ADDR_HIGH 4u
#define ENTRY_DATA	8u
#define ENTRY_CONTROL	12u

struct msix_entry {
	uint64_t addr;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
};

struct pci_msix {
	struct pci_device *pci;
	uint16_t cap;
	unsigned int vectors;
	uint32_t table_offset;
	uint32_t pba_offset;
	bool enabled; /* as in the capability, when it was last looked at */
	bool masked;  /* by the function mask, or for want of Bus Master Enable */
	struct msix_entry table[PCI_MSIX_MAX_VECTORS];
	struct msi_route routes[PCI_MSIX_MAX_VECTORS];
};

static uint32_t table_size(const struct pci_msix *msix)
{
	return msix->vectors * PCI_MSIX_ENTRY_SIZE;
}

static uint32_t pba_size(const struct pci_msix *msix)
{
	return ALIGN_UP(msix->vectors, 64u) / 8;
}

/* Puts a vector's route in the state that capability and table ask for. */
static void msix_update(struct pci_msix *msix, unsigned int vector)
{
	const struct msix_entry *entry = &msix->table[vector];
	struct msi_route *route = &msix->routes[vector];
	int err;

	if (!msix->enabled || msix->masked || (entry->control & PCI_MSIX_ENTRY_CTRL_MASKBIT)) {
		msi_route_disable(route);
		return;
	}
	route->requester = pci_device_requester(msix->pci);
	err = msi_route_enable(route, entry->addr, entry->data);
	if (err < 0)
		log_guest("%s: MSI-X vector %u could not be routed: %s", msix->pci->dev.id, vector,
			  strerror(-err));
}

static void msix_update_all(struct pci_msix *msix)
{
	uint16_t flags = get_le16(msix->pci->config + msix->cap + PCI_MSIX_FLAGS);

	msix->enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	msix->masked = (flags & PCI_MSIX_FLAGS_MASKALL) || !pci_device_can_master(msix->pci);
	for (unsigned int i = 0; i < msix->vectors; i++)
		msix_update(msix, i);
}

static void msix_power_on(struct pci_msix *msix)
{
	for (unsigned int i = 0; i < msix->vectors; i++)
		msix->table[i] = (struct msix_entry){ .control = PCI_MSIX_ENTRY_CTRL_MASKBIT };
}

int pci_msix_create(struct pci_device *pci, struct hypervisor *hv, unsigned int vectors,
		    unsigned int bar, uint32_t table_offset, uint32_t pba_offset,
		    struct pci_msix **out)
{
	struct pci_msix *msix;
	unsigned int i;
	int err;

	if (!vectors || vectors > PCI_MSIX_MAX_VECTORS || ((table_offset | pba_offset) & 7) ||
	    bar >= PCI_BARS)
		return -EINVAL;
	msix = calloc(1, sizeof(*msix));
	if (!msix)
		return -ENOMEM;
	msix->pci = pci;
	msix->vectors = vectors;
	msix->table_offset = table_offset;
	msix->pba_offset = pba_offset;
	msix_power_on(msix);
	for (i = 0; i < vectors; i++) {
		err = msi_route_init(&msix->routes[i], hv, 0);
		if (err)
			goto err_routes;
	}
	msix->cap = pci_device_add_cap(pci, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (!msix->cap) {
		err = -ENOSPC;
		goto err_routes;
	}
	put_le16(pci->config + msix->cap + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
	put_le16(pci->wmask + msix->cap + PCI_MSIX_FLAGS,
		 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	put_le32(pci->config + msix->cap + PCI_MSIX_TABLE, table_offset | bar);
	put_le32(pci->config + msix->cap + PCI_MSIX_PBA, pba_offset | bar);
	*out = msix;
	return 0;
err_routes:
	while (i--)
		msi_route_fini(&msix->routes[i]);
	free(msix);
	return err;
}

void pci_msix_destroy(struct pci_msix *msix)
{
	if (!msix)
		return;
	for (unsigned int i = 0; i < msix->vectors; i++)
		msi_route_fini(&msix->routes[i]);
	free(msix);
}

void pci_msix_reset(struct pci_msix *msix)
{
	uint8_t *flags = msix->pci->config + msix->cap + PCI_MSIX_FLAGS;

	put_le16(flags, get_le16(flags) & PCI_MSIX_FLAGS_QSIZE);
	msix_power_on(msix);
	msix_update_all(msix);
	for (unsigned int i = 0; i < msix->vectors; i++)
		msi_route_clear(&msix->routes[i]);
}

bool pci_msix_claims(const struct pci_msix *msix, uint64_t offset)
{
	return (offset >= msix->table_offset && offset - msix->table_offset < table_size(msix)) ||
	       (offset >= msix->pba_offset && offset - msix->pba_offset < pba_size(msix));
}

static uint32_t entry_read(const struct msix_entry *entry, unsigned int reg)
{
	switch (reg) {
	case ENTRY_ADDR_LOW:
		return (uint32_t)entry->addr;
	case ENTRY_ADDR_HIGH:
		return (uint32_t)(entry->addr >> 32);
	case ENTRY_DATA:
		return entry->data;
	default:
		return entry->control;
	}
}

static void entry_write(struct msix_entry *entry, unsigned int reg, uint32_t value)
{
	switch (reg) {
	case ENTRY_ADDR_LOW:
		entry->addr = (entry->addr & ~0xffffffffULL) | (value & ~3u);
		break;
	case ENTRY_ADDR_HIGH:
		entry->addr = (entry->addr & 0xffffffffULL) | (uint64_t)value << 32;
		break;
	case ENTRY_DATA:
		entry->data = value;
		break;
	default:
		entry->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		break;
	}
}

static uint32_t msix_read_dword(struct pci_msix *msix, uint64_t offset)
{
	uint64_t at = offset - msix->table_offset;
	uint32_t bits = 0;

	if (offset >= msix->table_offset && at < table_size(msix))
		return entry_read(&msix->table[at / PCI_MSIX_ENTRY_SIZE],
				  at % PCI_MSIX_ENTRY_SIZE);
	at = offset - msix->pba_offset;
	if (offset < msix->pba_offset || at >= pba_size(msix))
		return 0;
	for (unsigned int i = 0; i < 32 && at * 8 + i < msix->vectors; i++)
		if (msi_route_pending(&msix->routes[at * 8 + i]))
			bits |= 1u << i;
	return bits;
}

/* Double and quad words only, aligned (PCI 3.0 §6.8.2); what else comes reads as zero. */
uint64_t pci_msix_read(struct pci_msix *msix, uint64_t offset, unsigned int size)
{
	uint64_t value;

	if ((size != 4 && size != 8) || (offset & (size - 1)))
		return 0;
	value = msix_read_dword(msix, offset);
	if (size == 8)
		value |= (uint64_t)msix_read_dword(msix, offset + 4) << 32;
	return value;
}

void pci_msix_write(struct pci_msix *msix, uint64_t offset, unsigned int size, uint64_t value)
{
	uint64_t at = offset - msix->table_offset;
	unsigned int vector = (unsigned int)(at / PCI_MSIX_ENTRY_SIZE);

	if ((size != 4 && size != 8) || (offset & (size - 1)))
		return;
	if (offset < msix->table_offset || at >= table_size(msix))
		return; /* pending bits are read-only */
	entry_write(&msix->table[vector], at % PCI_MSIX_ENTRY_SIZE, (uint32_t)value);
	if (size == 8)
		entry_write(&msix->table[vector], at % PCI_MSIX_ENTRY_SIZE + 4,
			    (uint32_t)(value >> 32));
	msix_update(msix, vector);
}

void pci_msix_config_written(struct pci_msix *msix, uint16_t offset, unsigned int len)
{
	if (range_overlaps(offset, len, msix->cap + PCI_MSIX_FLAGS, 2) ||
	    range_overlaps(offset, len, PCI_COMMAND, 2))
		msix_update_all(msix);
}

bool pci_msix_enabled(const struct pci_msix *msix)
{
	return msix->enabled;
}

unsigned int pci_msix_vectors(const struct pci_msix *msix)
{
	return msix->vectors;
}

int pci_msix_fd(struct pci_msix *msix, unsigned int vector)
{
	return vector < msix->vectors ? msix->routes[vector].fd : -1;
}

void pci_msix_notify(struct pci_msix *msix, unsigned int vector)
{
	if (vector < msix->vectors)
		msi_route_notify(&msix->routes[vector]);
}

void pci_msix_save(const struct pci_msix *msix, struct pci_msix_state *state)
{
	memset(state, 0, sizeof(*state));
	for (unsigned int i = 0; i < msix->vectors; i++) {
		state->table[i].addr = msix->table[i].addr;
		state->table[i].data = msix->table[i].data;
		state->table[i].control = msix->table[i].control;
		if (msi_route_pending(&msix->routes[i]))
			state->pending |= 1ULL << i;
	}
}

int pci_msix_load(struct pci_msix *msix, const struct pci_msix_state *state)
{
	if (msix->vectors < 64 && state->pending >> msix->vectors)
		return -EINVAL;
	for (unsigned int i = 0; i < msix->vectors; i++) {
		struct msix_entry *entry = &msix->table[i];

		msi_route_disable(&msix->routes[i]);
		msi_route_clear(&msix->routes[i]);
		entry->addr = state->table[i].addr & ~3ULL;
		entry->data = state->table[i].data;
		entry->control = state->table[i].control & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		/* Delivered below if the vector is not masked, else it stays pending. */
		if (state->pending & (1ULL << i))
			msi_route_notify(&msix->routes[i]);
	}
	msix_update_all(msix);
	return 0;
}
