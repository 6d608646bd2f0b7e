/* The two doors to configuration space: ports CF8h/CFCh, and the memory window (ECAM). */
#include <errno.h>
#include <stdatomic.h>

#include "core/pci_bus.h"
#include "core/pci_tree.h"

#define CF8_ENABLE 0x80000000u
#define CF8_SIZE 4u /* bytes of the address register; the data register follows */

struct config_target {
	uint8_t bus;
	uint8_t devfn;
	uint16_t reg;
};

static bool cf8_target(struct pci_root *root, uint64_t offset, struct config_target *t)
{
	uint32_t cf8 = atomic_load_explicit(&root->cf8, memory_order_relaxed);

	*t = (struct config_target){
		.bus = (uint8_t)(cf8 >> 16),
		.devfn = (uint8_t)(cf8 >> 8),
		.reg = (uint16_t)((cf8 & 0xfc) + (offset - CF8_SIZE)),
	};
	return cf8 & CF8_ENABLE;
}

/* The chipset's reset control register is a byte in the middle of the address register. */
static bool is_reset_control(const struct pci_root *root, uint64_t offset, unsigned int size)
{
	return root->reset_control && offset == 1 && size == 1;
}

static uint64_t cf8_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct pci_root *root = opaque;
	const struct io_range *rc = root->reset_control;
	struct config_target t;
	uint64_t value;

	if (offset >= CF8_SIZE)
		return cf8_target(root, offset, &t) ?
			       pci_bus_config_read(&root->bus0, t.bus, t.devfn, t.reg, size) :
			       UINT64_MAX;
	if (offset == 0 && size == 4)
		return atomic_load_explicit(&root->cf8, memory_order_relaxed);
	if (!is_reset_control(root, offset, size))
		return UINT64_MAX;
	if (rc->lock)
		pthread_mutex_lock(rc->lock);
	value = rc->ops->read(rc->opaque, 0, 1);
	if (rc->lock)
		pthread_mutex_unlock(rc->lock);
	return value;
}

static void cf8_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_root *root = opaque;
	const struct io_range *rc = root->reset_control;
	struct config_target t;

	if (offset >= CF8_SIZE) {
		if (cf8_target(root, offset, &t))
			pci_bus_config_write(&root->bus0, t.bus, t.devfn, t.reg, size,
					     (uint32_t)value);
		return;
	}
	/* Only a double word reaches the address register (PCI 3.0 §3.2.2.3.2). */
	if (offset == 0 && size == 4) {
		atomic_store_explicit(&root->cf8, (uint32_t)value & (CF8_ENABLE | 0xfffffc),
				      memory_order_relaxed);
		return;
	}
	if (!is_reset_control(root, offset, size))
		return;
	if (rc->lock)
		pthread_mutex_lock(rc->lock);
	rc->ops->write(rc->opaque, 0, 1, value);
	if (rc->lock)
		pthread_mutex_unlock(rc->lock);
}

static const struct io_ops cf8_ops = { .read = cf8_read, .write = cf8_write };

int pci_bus_attach_cf8(struct pci_bus *bus0)
{
	struct pci_root *root = bus0->root;

	root->cf8_range = (struct io_range){
		.name = "pci-config", .base = 0xcf8, .size = 8, .ops = &cf8_ops, .opaque = root,
	};
	return io_bus_add(root->pio, &root->cf8_range);
}

uint32_t pci_bus_cf8(struct pci_bus *bus0)
{
	return atomic_load_explicit(&bus0->root->cf8, memory_order_relaxed);
}

void pci_bus_set_cf8(struct pci_bus *bus0, uint32_t value)
{
	atomic_store_explicit(&bus0->root->cf8, value & (CF8_ENABLE | 0xfffffc),
			      memory_order_relaxed);
}

void pci_bus_set_reset_control(struct pci_bus *bus0, const struct io_range *range)
{
	bus0->root->reset_control = range;
}

/* PCI Express Base 4.0 §7.2.2: bus in bits 27:20, device 19:15, function 14:12. */
static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct pci_root *root = opaque;
	uint8_t bus = (uint8_t)(offset >> 20), devfn = (uint8_t)(offset >> 12);
	uint16_t reg = offset & 0xfff;
	uint64_t value;

	if (size < 8)
		return pci_bus_config_read(&root->bus0, bus, devfn, reg, size);
	value = pci_bus_config_read(&root->bus0, bus, devfn, reg, 4);
	return value | (uint64_t)pci_bus_config_read(&root->bus0, bus, devfn, reg + 4, 4) << 32;
}

static void ecam_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_root *root = opaque;
	uint8_t bus = (uint8_t)(offset >> 20), devfn = (uint8_t)(offset >> 12);
	uint16_t reg = offset & 0xfff;

	pci_bus_config_write(&root->bus0, bus, devfn, reg, MIN(size, 4u), (uint32_t)value);
	if (size == 8)
		pci_bus_config_write(&root->bus0, bus, devfn, reg + 4, 4, (uint32_t)(value >> 32));
}

static const struct io_ops ecam_ops = { .read = ecam_read, .write = ecam_write };

int pci_bus_set_ecam(struct pci_bus *bus0, gpa_t base, unsigned int buses)
{
	struct pci_root *root = bus0->root;
	struct io_range *range = &root->ecam_range;

	io_bus_remove(root->mmio, range);
	if (!base)
		return 0;
	/* Another vCPU may have found the range before it was removed and be about to call it:
	 * what it looks at then never changes. */
	range->name = "ecam";
	range->ops = &ecam_ops;
	range->opaque = root;
	range->base = base;
	range->size = (uint64_t)buses << 20;
	return io_bus_add(root->mmio, range);
}
