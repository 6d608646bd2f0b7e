#include "tests/fakes/oracle.h"

#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>

#define NEIGHBOUR_SIZE 0x1000u

#define broken(...)                                      \
	do {                                             \
		fprintf(stderr, "oracle: " __VA_ARGS__); \
		fputc('\n', stderr);                     \
		abort();                                 \
	} while (0)

void oracle_init(struct oracle *o, struct guest_memory *memory, struct fake_hypervisor *hv)
{
	memset(o, 0, sizeof(*o));
	o->memory = memory;
	o->hv = hv;
	if (!memory)
		return;
	o->before = malloc(guest_memory_total(memory));
	if (!o->before)
		abort();
	oracle_look(o);
}

void oracle_fini(struct oracle *o)
{
	if (o->bus) {
		pci_bus_remove(&o->pci);
		device_fini(&o->pci.dev);
	}
	free(o->before);
}

/* Memory */

void oracle_paint(struct oracle *o)
{
	for (unsigned int i = 0; i < guest_memory_slot_count(o->memory); i++) {
		const struct mem_slot *slot = guest_memory_slot(o->memory, i);

		for (uint64_t at = 0; at < slot->size; at += 8)
			put_le64(slot->hva + at, (slot->gpa + at) * 0x9e3779b97f4a7c15ULL);
	}
	oracle_look(o);
}

void oracle_look_on(struct oracle *o)
{
	uint8_t *to = o->before;

	for (unsigned int i = 0; i < guest_memory_slot_count(o->memory); i++) {
		const struct mem_slot *slot = guest_memory_slot(o->memory, i);

		memcpy(to, slot->hva, slot->size);
		to += slot->size;
	}
}

void oracle_look(struct oracle *o)
{
	oracle_look_on(o);
	o->spans = 0;
	o->tangled = false;
}

void oracle_allow(struct oracle *o, gpa_t gpa, uint64_t len)
{
	uint64_t end = gpa + len < gpa ? UINT64_MAX : gpa + len;

	if (o->spans == ORACLE_SPANS)
		o->tangled = true;
	else
		o->legal[o->spans++] = (struct oracle_span){ gpa, end };
}

static bool is_legal(const struct oracle *o, uint64_t gpa)
{
	for (unsigned int i = 0; i < o->spans; i++)
		if (gpa >= o->legal[i].start && gpa < o->legal[i].end)
			return true;
	return o->tangled;
}

/* One of the tables; the writable buffers it names, and with `ring` the tables it points to. */
static void allow_table(struct oracle *o, gpa_t table, uint64_t entries, bool ring)
{
	for (uint64_t i = 0; i < entries; i++) {
		struct vring_desc d;

		if (guest_memory_read(o->memory, table + i * sizeof(d), &d, sizeof(d)))
			return;
		if (d.flags & VRING_DESC_F_WRITE)
			oracle_allow(o, d.addr, d.len);
		if (ring && d.flags & VRING_DESC_F_INDIRECT)
			allow_table(o, d.addr, MIN(d.len / sizeof(d), 512u), false);
		if (ring && d.flags & VRING_DESC_F_INDIRECT && d.len / sizeof(d) > 512)
			o->tangled = true;
	}
}

/* Whether something the device follows lies where it may write. */
static bool is_tangled(struct oracle *o, gpa_t table, uint64_t entries, bool ring)
{
	for (unsigned int i = 0; i < o->spans; i++)
		if (o->legal[i].end > o->legal[i].start &&
		    range_overlaps(table, entries * sizeof(struct vring_desc), o->legal[i].start,
				   o->legal[i].end - o->legal[i].start))
			return true;
	for (uint64_t i = 0; ring && i < entries; i++) {
		struct vring_desc d;

		if (guest_memory_read(o->memory, table + i * sizeof(d), &d, sizeof(d)))
			return true;
		if (d.flags & VRING_DESC_F_INDIRECT && d.len / sizeof(d) &&
		    d.addr + d.len > d.addr &&
		    is_tangled(o, d.addr, MIN(d.len / sizeof(d), 512u), false))
			return true;
	}
	return false;
}

void oracle_allow_ring(struct oracle *o, uint32_t size, gpa_t desc, gpa_t used)
{
	oracle_allow(o, used, 6 + 8ull * size);
	allow_table(o, desc, size, true);
	if (!o->tangled)
		o->tangled = is_tangled(o, desc, size, true);
}

void oracle_check_memory(struct oracle *o)
{
	const uint8_t *was = o->before;

	for (unsigned int i = 0; i < guest_memory_slot_count(o->memory); i++) {
		const struct mem_slot *slot = guest_memory_slot(o->memory, i);

		for (uint64_t at = 0; at < slot->size; at += 4096) {
			uint64_t len = MIN(slot->size - at, 4096u);

			if (!memcmp(slot->hva + at, was + at, len))
				continue;
			for (uint64_t k = at; k < at + len; k++)
				if (slot->hva[k] != was[k] && !is_legal(o, slot->gpa + k))
					broken("memory at 0x%llx changed from %02x to %02x",
					       (unsigned long long)(slot->gpa + k), was[k],
					       slot->hva[k]);
		}
		was += slot->size;
	}
}

/* Work */

void oracle_begin(struct oracle *o)
{
	o->calls = o->hv ? o->hv->calls : 0;
}

void oracle_end(struct oracle *o, unsigned int most)
{
	if (o->hv && o->hv->calls - o->calls > most)
		broken("%lu calls of the hypervisor, at most %u are due", o->hv->calls - o->calls,
		       most);
}

/* The neighbour */

static uint64_t neighbour_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct oracle *o = opaque;

	return offset / 4 < ORACLE_REGS ? o->regs[offset / 4] : 0;
}

static void neighbour_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct oracle *o = opaque;

	if (offset / 4 < ORACLE_REGS)
		o->regs[offset / 4] = (uint32_t)value;
}

void oracle_neighbour_join(struct oracle *o, struct pci_bus *bus, struct io_bus *mmio,
			   uint8_t devfn, uint64_t bar)
{
	static const struct io_ops ops = { .read = neighbour_read, .write = neighbour_write };
	static const struct device_ops dev_ops = { .type = "neighbour" };
	static const struct pci_id id = { .vendor = 0x1af4, .device = 0x10ff };

	device_init(&o->pci.dev, "neighbour", &dev_ops);
	pci_device_init(&o->pci, &id);
	pci_device_set_bar(&o->pci, 0, NEIGHBOUR_SIZE, false, false, false, &ops, o);
	if (pci_bus_add(bus, &o->pci, devfn))
		abort();
	o->bus = bus;
	o->mmio = mmio;
	o->bar = bar;
	pci_bus_config_write(bus, 0, devfn, PCI_BASE_ADDRESS_0, 4, (uint32_t)bar);
	pci_bus_config_write(bus, 0, devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

void oracle_neighbour_check(struct oracle *o)
{
	uint64_t value = 0;

	if (o->regs[1] != o->expect)
		broken("the neighbour's register holds 0x%x, 0x%x was written", o->regs[1],
		       o->expect);
	o->expect = o->expect * 1664525u + 1013904223u;
	if (!io_bus_write(o->mmio, o->bar + 4, 4, o->expect) ||
	    !io_bus_read(o->mmio, o->bar + 4, 4, &value) || value != o->expect)
		broken("the neighbour does not answer at 0x%llx", (unsigned long long)o->bar);
	if (pci_bus_config_read(o->bus, 0, o->pci.devfn, PCI_VENDOR_ID, 4) != 0x10ff1af4)
		broken("the neighbour has left its place on the bus");
}

/* After a reset */

void oracle_recovers(struct device *dev, bool (*happy)(void *opaque), void *opaque)
{
	device_enter(dev);
	dev->ops->reset(dev);
	device_leave(dev);
	if (!happy(opaque))
		broken("%s does not work after a reset", dev->id);
}
