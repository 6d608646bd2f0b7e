#include "vmm/layout.h"

#include <errno.h>

/*
 * The 64-bit window takes the third quarter of the address space: the top one is left alone, since
 * some hosts keep ranges for themselves just below the limit.
 */
static void place_mmio64(struct layout *layout, uint64_t ram_end)
{
	uint64_t quarter = 1ULL << (layout->phys_bits - 2);
	uint64_t base = MAX(2 * quarter, ALIGN_UP(ram_end, GIB));
	uint64_t size = MIN(quarter, LAYOUT_MMIO64_MAX);

	if (base >= 4 * quarter)
		return;
	layout->mmio64_base = base;
	layout->mmio64_size = MIN(size, 4 * quarter - base);
}

int layout_compute(uint64_t ram, uint64_t page_size, unsigned int phys_bits,
		   struct layout *layout)
{
	uint64_t ram_end;

	*layout = (struct layout){.phys_bits = phys_bits, .page_size = page_size};
	if (phys_bits < 34 || phys_bits > 52 || !ram || ram % page_size)
		return -ERANGE;
	layout->low_ram = MIN(ram, LAYOUT_LOW_RAM_MAX);
	layout->high_ram = ram - layout->low_ram;
	if (layout->high_ram > (1ULL << phys_bits) - LAYOUT_HIGH_RAM_BASE)
		return -ERANGE;
	ram_end = LAYOUT_HIGH_RAM_BASE + layout->high_ram;
	place_mmio64(layout, ram_end);
	return 0;
}

unsigned int layout_nodes(const struct layout *layout, unsigned int nodes,
			  struct acpi_memory_affinity *out)
{
	uint64_t ram = layout->low_ram + layout->high_ram;
	uint64_t part = ALIGN_DOWN(ram / nodes, MAX(layout->page_size, 2 * MIB));
	uint64_t from = 0;
	unsigned int used = 0;

	for (unsigned int node = 0; node < nodes; node++) {
		uint64_t to = node == nodes - 1 ? ram : from + part;

		while (from < to) {
			bool low = from < layout->low_ram;
			uint64_t end = low ? MIN(to, layout->low_ram) : to;
			gpa_t base = low ? from
					 : LAYOUT_HIGH_RAM_BASE + (from - layout->low_ram);

			out[used++] = (struct acpi_memory_affinity){
				.base = base, .size = end - from, .node = node};
			from = end;
		}
	}
	return used;
}
