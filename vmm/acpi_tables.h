/*
 * The content of each table. Each function appends one and returns its address, 0 when it does
 * not fit. Pure; any thread.
 */
#ifndef VMM_ACPI_TABLES_H
#define VMM_ACPI_TABLES_H

#include "vmm/acpi_config.h"
#include "vmm/acpi_writer.h"

gpa_t acpi_put_facs(struct acpi_writer *w);
gpa_t acpi_put_fadt(struct acpi_writer *w, gpa_t facs, gpa_t dsdt);
gpa_t acpi_put_madt(struct acpi_writer *w, const struct acpi_config *config);
gpa_t acpi_put_mcfg(struct acpi_writer *w, const struct acpi_config *config);
gpa_t acpi_put_srat(struct acpi_writer *w, const struct acpi_config *config);
gpa_t acpi_put_ssdt(struct acpi_writer *w, const struct acpi_config *config);

#endif
