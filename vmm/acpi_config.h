/*
 * What the ACPI tables tell the guest. The fixed hardware is what dsdt.asl and the FADT name; the
 * LPC bridge implements it.
 */
#ifndef VMM_ACPI_CONFIG_H
#define VMM_ACPI_CONFIG_H

#include "core/pci_bus.h"

#define ACPI_PM_BASE	 0x600u /* PMBASE of the LPC bridge */
#define ACPI_PM1A_EVT	 (ACPI_PM_BASE + 0x00u)
#define ACPI_PM1A_CNT	 (ACPI_PM_BASE + 0x04u)
#define ACPI_PM_TMR	 (ACPI_PM_BASE + 0x08u)
#define ACPI_GPE0	 (ACPI_PM_BASE + 0x20u)
#define ACPI_GPE0_LEN	 16u /* 8 status + 8 enable */
#define ACPI_SCI_GSI	 9u
#define ACPI_RESET_PORT	 0xcf9u
#define ACPI_RESET_VALUE 0x06u
#define ACPI_S5_SLP_TYP	 7u /* SLP_TYP of \_S5, as on ICH9 (13.8.3.3) */
#define ACPI_PIRQ_GSI	 16u /* PIRQA-H are GSI 16-23 in APIC mode */
#define ACPI_ECAM_BASE	 0xb0000000u
#define ACPI_ECAM_BUSES	 256u

#define ACPI_MAX_VCPUS	254u /* xAPIC identifiers 0..253 */
#define ACPI_MAX_MEMORY 32u

struct acpi_memory_affinity {
	gpa_t base;
	uint64_t size;
	unsigned int node;
};

struct acpi_config {
	unsigned int vcpus; /* APIC identifiers 0..vcpus - 1 */
	gpa_t ecam_base;
	unsigned int ecam_buses; /* 1..256 */
	struct pci_windows windows; /* mmio64_size may be 0 */
	unsigned int nodes; /* SRAT when > 1 */
	const struct acpi_memory_affinity *memory; /* with nodes > 1 */
	unsigned int memory_count;
	const unsigned int *vcpu_node; /* with nodes > 1: vcpus entries */
};

#endif
