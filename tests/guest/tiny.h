/*
 * A guest of a few thousand instructions, for machines whose KVM emulates guest code: 32-bit, flat,
 * no paging, no interrupts. It prints what it finds on COM1, one "name value" a line, and then does
 * what its command line says.
 */
#ifndef TINY_H
#define TINY_H

#include <stdbool.h>
#include <stdint.h>

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t mem_read32(uintptr_t addr)
{
	return *(volatile uint32_t *)addr;
}

static inline void mem_write32(uintptr_t addr, uint32_t v)
{
	*(volatile uint32_t *)addr = v;
}

void put(const char *text);
void put_hex(uint32_t value);
/* "name value\n" */
void report(const char *name, uint32_t value);

uint32_t config_read(uint8_t bus, uint8_t devfn, uint16_t offset);	/* by CF8h */
void config_write(uint8_t bus, uint8_t devfn, uint16_t offset, uint32_t value);
uint32_t ecam_read(uint8_t bus, uint8_t devfn, uint16_t offset);

/*
 * tiny_virtio.c: starts the disk behind the first root port on a ring of `size` entries whose parts
 * are there. The address of its doorbell; 0: there is none.
 */
uint32_t virtio_disk_start(uint16_t size, const volatile void *desc, const volatile void *avail,
			   const volatile void *used);
/* tiny_writer.c: rounds of numbered sectors and flushes, for ever; says which round is on disk. */
void virtio_disk_write(uint32_t first_round);

/* tiny_virtio.c: reads the first sector of the disk behind the first root port, if there is one. */
void virtio_disk_test(void);
void virtio_nic_test(void);

/* tiny_hostile.c: misdeeds before a reset; a disk must be behind the first root port. */
void hostile_ecam(void);
void hostile_ports(void);

#endif
