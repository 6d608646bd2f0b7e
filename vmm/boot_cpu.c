/*
 * The processor state common to the protocols. One GDT serves all: the 64-bit Linux protocol wants
 * __BOOT_CS = 10h and __BOOT_DS = 18h; PVH and Multiboot leave the selectors open.
 */
#include "vmm/boot_internal.h"

#define GDT_ENTRIES 5u
#define SEL_CODE    0x10u
#define SEL_DATA    0x18u
#define SEL_TASK    0x20u

#define CR0_PE 0x1u
#define CR0_ET 0x10u

/* Intel SDM 3A figure 3-8. */
static uint64_t descriptor(const struct boot_segment *s)
{
	uint32_t limit = s->granular ? s->limit >> 12 : s->limit;
	uint64_t d = 0;

	d |= limit & 0xffffu;
	d |= (s->base & 0xffffffu) << 16;
	d |= (uint64_t)s->type << 40;
	d |= (uint64_t)s->code_or_data << 44;
	d |= 1ULL << 47; /* present, DPL 0 */
	d |= (uint64_t)(limit >> 16 & 0xfu) << 48;
	d |= (uint64_t)s->long_mode << 53;
	d |= (uint64_t)s->default_32 << 54;
	d |= (uint64_t)s->granular << 55;
	d |= (s->base >> 24 & 0xffu) << 56;
	return d;
}

int boot_cpu_segments(struct boot *boot, bool long_mode)
{
	struct boot_cpu *cpu = boot->cpu;
	uint64_t gdt[GDT_ENTRIES] = {0};

	cpu->cs = (struct boot_segment){
		.limit = UINT32_MAX,
		.selector = SEL_CODE,
		.type = 0xb, /* execute, read, accessed */
		.code_or_data = true,
		.default_32 = !long_mode,
		.long_mode = long_mode,
		.granular = true,
	};
	cpu->ds = (struct boot_segment){
		.limit = UINT32_MAX,
		.selector = SEL_DATA,
		.type = 0x3, /* read, write, accessed */
		.code_or_data = true,
		.default_32 = true,
		.granular = true,
	};
	/* VM entry demands a busy TSS in TR; nobody switches tasks. */
	cpu->tr = (struct boot_segment){.limit = 0x67, .selector = SEL_TASK, .type = 0xb};
	gdt[SEL_CODE / 8] = descriptor(&cpu->cs);
	gdt[SEL_DATA / 8] = descriptor(&cpu->ds);
	gdt[SEL_TASK / 8] = descriptor(&cpu->tr);
	cpu->gdt_base = BOOT_GDT;
	cpu->gdt_limit = sizeof(gdt) - 1;
	return boot_write(boot, BOOT_GDT, gdt, sizeof(gdt));
}

int boot_cpu_protected(struct boot *boot, uint32_t entry)
{
	boot->cpu->rip = entry;
	boot->cpu->cr0 = CR0_PE | CR0_ET;
	return boot_cpu_segments(boot, false);
}
