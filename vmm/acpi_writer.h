/*
 * Writes ACPI tables one after the other: room, headers, checksums. Pure; any thread.
 */
#ifndef VMM_ACPI_WRITER_H
#define VMM_ACPI_WRITER_H

#include "core/bits.h"

/* ACPI 6.4 table 5.4. */
struct acpi_header {
	char signature[4];
	uint32_t length; /* bytes, this header included */
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

/* Appends to buf, which stands for guest RAM at base. */
struct acpi_writer {
	uint8_t *buf;
	gpa_t base;
	size_t size, used; /* bytes */
	bool full;	   /* something did not fit: everything after is void */
	struct acpi_header *table; /* between acpi_begin and acpi_end */
};

/* Zeroed; NULL when full. align: power of two. */
void *acpi_reserve(struct acpi_writer *w, size_t len, size_t align);
void acpi_put(struct acpi_writer *w, const void *data, size_t len);
gpa_t acpi_address(const struct acpi_writer *w, const void *p);

/* A table with the usual header; acpi_end fills its length and checksum. */
void acpi_begin(struct acpi_writer *w, const char *signature, uint8_t revision);
gpa_t acpi_end(struct acpi_writer *w); /* its address */

/* The byte with which all of them add up to 0. */
uint8_t acpi_checksum(const uint8_t *p, size_t len);

#endif
