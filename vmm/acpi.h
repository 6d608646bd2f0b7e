/*
 * The ACPI tables (ACPI 6.4): RSDP, XSDT, FADT, FACS, MADT, MCFG, SRAT, a DSDT compiled from
 * dsdt.asl and an SSDT that tells it the machine's windows. Pure: builds them in a buffer that the
 * machine copies to guest RAM. Any thread.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include "vmm/acpi_config.h"

/* Where the tables go: the BIOS area, where a guest without a pointer finds the RSDP by scanning
 * on 16-byte boundaries (ACPI 6.4 5.2.5.1). The RSDP is at ACPI_AREA_BASE. */
#define ACPI_AREA_BASE 0xe0000u
#define ACPI_AREA_SIZE 0x20000u

/*
 * Builds all tables for guest-physical address ACPI_AREA_BASE into buf. `used`: bytes of it to
 * copy. The RSDP comes first. 0, -EINVAL or -ENOSPC with a line in `why`.
 */
must_check int acpi_build(const struct acpi_config *config, uint8_t *buf, size_t size,
			  size_t *used, char *why, size_t why_size);

#endif
