/*
 * The whole: which tables there are and the pointers to them. The content of each is in
 * acpi_tables.c.
 */
#include "vmm/acpi.h"

#include <errno.h>
#include <stdio.h>

#include "vmm/acpi_tables.h"

/* The compiled dsdt.asl: unsigned char dsdt_aml_code[]. */
#include "vmm/dsdt.hex"

#define MAX_TABLES 8u

/* ACPI 6.4 table 5.3, revision 2. */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

_Static_assert(sizeof(struct rsdp) == 36, "RSDP");

static gpa_t put_dsdt(struct acpi_writer *w)
{
	void *p = acpi_reserve(w, sizeof(dsdt_aml_code), 8);

	if (!p)
		return 0;
	memcpy(p, dsdt_aml_code, sizeof(dsdt_aml_code));
	return acpi_address(w, p);
}

static void put_rsdp(struct acpi_writer *w, struct rsdp *rsdp, const gpa_t *tables,
		     unsigned int count)
{
	acpi_begin(w, "XSDT", 1);
	acpi_put(w, tables, count * sizeof(*tables));
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, "NFVVMM", sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = acpi_end(w);
	rsdp->checksum = acpi_checksum((uint8_t *)rsdp, 20);
	rsdp->extended_checksum = acpi_checksum((uint8_t *)rsdp, sizeof(*rsdp));
}

static int check(const struct acpi_config *c, char *why, size_t why_size)
{
	const char *bad = NULL;

	if (!c->vcpus || c->vcpus > ACPI_MAX_VCPUS)
		bad = "number of vCPUs";
	else if (!c->ecam_buses || c->ecam_buses > 256 || !c->ecam_base)
		bad = "ECAM window";
	else if (c->ecam_base + c->ecam_buses * MIB > UINT32_MAX)
		bad = "ECAM window";
	else if (!c->windows.mmio32_size ||
		 !range_within(c->windows.mmio32_base, c->windows.mmio32_size, 4 * GIB))
		bad = "window for 32-bit BARs";
	else if (c->nodes > 1 && (!c->memory || !c->vcpu_node || !c->memory_count))
		bad = "list of NUMA nodes";
	if (!bad)
		return 0;
	snprintf(why, why_size, "ACPI tables: the %s cannot be described", bad);
	return -EINVAL;
}

int acpi_build(const struct acpi_config *config, uint8_t *buf, size_t size, size_t *used,
	       char *why, size_t why_size)
{
	struct acpi_writer w = {.buf = buf, .base = ACPI_AREA_BASE, .size = size};
	gpa_t tables[MAX_TABLES];
	unsigned int n = 0;
	struct rsdp *rsdp;
	gpa_t facs, dsdt;
	int err = check(config, why, why_size);

	if (err)
		return err;
	rsdp = acpi_reserve(&w, sizeof(*rsdp), 16);
	facs = acpi_put_facs(&w);
	dsdt = put_dsdt(&w);
	tables[n++] = acpi_put_fadt(&w, facs, dsdt);
	tables[n++] = acpi_put_madt(&w, config);
	tables[n++] = acpi_put_mcfg(&w, config);
	tables[n++] = acpi_put_ssdt(&w, config);
	if (config->nodes > 1)
		tables[n++] = acpi_put_srat(&w, config);
	if (!w.full)
		put_rsdp(&w, rsdp, tables, n);
	if (w.full) {
		snprintf(why, why_size, "ACPI tables: more than the %zu bytes there are for them",
			 size);
		return -ENOSPC;
	}
	*used = w.used;
	return 0;
}
