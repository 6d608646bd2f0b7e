/*
 * Boot without firmware: puts a kernel, its initrd or modules, its command line and a memory map
 * into guest RAM and says in which state the first vCPU starts.
 *
 *   bzImage    Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst, protocol >= 2.12)
 *   ELF        PVH (XEN_ELFNOTE_PHYS32_ENTRY, struct hvm_start_info version 1)
 *   ELF, flat  Multiboot specification 0.6.96
 *
 * The files are hostile: every offset and length in them is checked against the file and against
 * guest RAM before it is used. io thread, vCPUs not running; boot_load may be called again for a
 * reset, with the same descriptors (they are read with pread and stay the caller's).
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "core/guest_memory.h"

enum boot_protocol { BOOT_AUTO, BOOT_LINUX, BOOT_PVH, BOOT_MULTIBOOT };

/* "auto", "linux", "pvh" or "multiboot"; -EINVAL otherwise. */
must_check int boot_protocol_parse(const char *name, enum boot_protocol *protocol);
const char *boot_protocol_name(enum boot_protocol protocol);

#define BOOT_MAX_MODULES 32u

struct boot_file {
	int fd;		     /* a regular file or memfd, open for reading */
	const char *name;    /* for messages */
	const char *cmdline; /* modules only; NULL: none */
};

/* Guest-physical ranges that are not RAM for the guest, whether or not a slot is behind them. */
struct boot_range {
	gpa_t base;
	uint64_t size;
};

struct boot_request {
	enum boot_protocol protocol;
	struct boot_file kernel;
	const struct boot_file *initrd; /* NULL: none; comes first among the modules of PVH, Multiboot */
	const char *cmdline;		/* NULL: empty */
	const struct boot_file *modules; /* PVH and Multiboot only */
	unsigned int module_count;
	gpa_t rsdp; /* 0: no ACPI */
	/* Reserved ranges for the memory map besides the BIOS area, ascending (the ECAM window). */
	const struct boot_range *reserved;
	unsigned int reserved_count;
};

/*
 * Guest RAM below 1 MiB as we use it. RAM proper ends at BOOT_LOW_RAM_END; what follows up to
 * 1 MiB is reserved in the memory map (ACPI tables at ACPI_AREA_BASE, acpi.h).
 */
#define BOOT_LOW_RAM_END 0x9fc00u
#define BOOT_HIGH_RAM_START 0x100000u

/* A segment register with its descriptor, in the terms of Intel SDM 3A 3.4.5. */
struct boot_segment {
	uint64_t base;
	uint32_t limit; /* bytes, inclusive */
	uint16_t selector;
	uint8_t type;
	bool code_or_data; /* S */
	bool default_32;   /* D/B */
	bool long_mode;	   /* L */
	bool granular;	   /* G */
};				/* present, DPL 0 */

/* How the first vCPU starts; the registers not named are 0. ldt: none; idt: limit 0. */
struct boot_cpu {
	uint64_t rip, rsp, rflags;
	uint64_t rax, rbx, rsi;
	uint64_t cr0, cr3, cr4, efer;
	gpa_t gdt_base;
	uint16_t gdt_limit;
	struct boot_segment cs;
	struct boot_segment ds; /* also es, ss, fs, gs */
	struct boot_segment tr;
};

/*
 * Loads everything and fills cpu. 0 or -errno with one line in `why` that names the file, what
 * was found there and what is allowed. RAM may have been written to on failure.
 */
must_check int boot_load(struct guest_memory *gm, const struct boot_request *req,
			 struct boot_cpu *cpu, char *why, size_t why_size);

#endif
