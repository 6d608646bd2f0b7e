#include "vmm/acpi_writer.h"

uint8_t acpi_checksum(const uint8_t *p, size_t len)
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
	return w->base + (gpa_t)((const uint8_t *)p - w->buf);
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
	h->checksum = acpi_checksum((uint8_t *)h, h->length);
	return acpi_address(w, h);
}
