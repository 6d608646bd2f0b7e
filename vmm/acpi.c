/*
 * The container: root pointers, headers, checksums. The content of each table is in acpi_tables.c.
 */
#include "vmm/acpi.h"

#include <errno.h>
#include <stdarg.h>
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

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

void *acpi_reserve(struct acpi_writer *w, size_t len, size_t align)
{
	size_t at = ALIGN_UP(w->used, align);
	void *p = w->buf + at;

	if (!range_within(at, len, w->size)) {
		w->full = true;
		return NULL;
	}
	w->used = at + len;
	memset(p, 0, len);
	return p;
}

void acpi_put(struct acpi_writer *w, const void *data, size_t len)
{
	void *p = acpi_reserve(w, len, 1);

	if (p)
		memcpy(p, data, len);
}

gpa_t acpi_address(const struct acpi_writer *w, const void *p)
{
	return ACPI_AREA_BASE + (gpa_t)((const uint8_t *)p - w->buf);
}

void acpi_begin(struct acpi_writer *w, const char *signature, uint8_t revision)
{
	struct acpi_header *h = acpi_reserve(w, sizeof(*h), 8);

	w->table = h;
	if (!h)
		return;
	memcpy(h->signature, signature, sizeof(h->signature));
	h->revision = revision;
	memcpy(h->oem_id, "NFVVMM", sizeof(h->oem_id));
	memcpy(h->oem_table_id, "MACHINE ", sizeof(h->oem_table_id));
	h->oem_revision = 1;
	memcpy(h->creator_id, "VMM ", sizeof(h->creator_id));
	h->creator_revision = 1;
}

gpa_t acpi_end(struct acpi_writer *w)
{
	struct acpi_header *h = w->table;

	if (w->full)
		return 0;
	h->length = (uint32_t)(w->buf + w->used - (uint8_t *)h);
	h->checksum = 0;
	h->checksum = checksum((uint8_t *)h, h->length);
	return acpi_address(w, h);
}

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
	rsdp->checksum = checksum((uint8_t *)rsdp, 20);
	rsdp->extended_checksum = checksum((uint8_t *)rsdp, sizeof(*rsdp));
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
	struct acpi_writer w = {.buf = buf, .size = size};
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
