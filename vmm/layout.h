/*
 * Where things are in the guest's physical address space. Pure; any thread.
 *
 *	0          low RAM (at most 2 GiB; hva congruent, so that pages can be large)
 *	80000000h  hole: ECAM, the 32-bit PCI window, chipset, IOAPIC, local APICs
 *	4 GiB      high RAM
 *	...        the 64-bit PCI window, below the processor's physical address bits
 */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#include "vmm/acpi.h"

#define LAYOUT_LOW_RAM_MAX (2 * GIB)
#define LAYOUT_HIGH_RAM_BASE (4 * GIB)
#define LAYOUT_ECAM_BASE ACPI_ECAM_BASE
#define LAYOUT_ECAM_BUSES ACPI_ECAM_BUSES /* MiB too */
#define LAYOUT_MMIO32_BASE 0xc0000000ULL
#define LAYOUT_MMIO32_END 0xfe000000ULL /* chipset registers, IOAPIC and APICs above */
#define LAYOUT_IOAPIC_BASE 0xfec00000ULL
#define LAYOUT_LAPIC_BASE 0xfee00000ULL
#define LAYOUT_IDENTITY_MAP 0xfffbc000ULL /* one page, Intel without unrestricted guest */
#define LAYOUT_TSS 0xfffbd000ULL	  /* three pages, likewise */
#define LAYOUT_IO_BASE 0xc000u		  /* port window for BARs */
#define LAYOUT_IO_SIZE 0x3f00u		  /* bytes; ends below FF00h */
#define LAYOUT_MMIO64_MAX (1024 * GIB)	  /* bytes: no need for more */

struct layout {
	uint64_t low_ram;  /* bytes at 0 */
	uint64_t high_ram; /* bytes at LAYOUT_HIGH_RAM_BASE; 0: none */
	gpa_t mmio64_base;
	uint64_t mmio64_size; /* bytes; 0: no address bits left for it */
	unsigned int phys_bits;
	uint64_t page_size; /* bytes, of the RAM's backing */
};

/*
 * ram: bytes, a multiple of page_size. phys_bits: what the guest's CPUID says. 0, or -ERANGE when
 * the RAM does not fit below them.
 */
must_check int layout_compute(uint64_t ram, uint64_t page_size, unsigned int phys_bits,
			      struct layout *layout);

/*
 * Cuts the RAM into `nodes` equal parts (of whole pages), in order of address; a part that the hole divides takes
 * two entries. `out` has room for nodes + 1; returns how many were used.
 */
unsigned int layout_nodes(const struct layout *layout, unsigned int nodes,
			  struct acpi_memory_affinity *out);

#endif
