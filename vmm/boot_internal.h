/*
 * What the loaders of the boot protocols share. Only boot*.c include it.
 */
#ifndef VMM_BOOT_INTERNAL_H
#define VMM_BOOT_INTERNAL_H

#include "vmm/boot.h"

/*
 * Low memory while a kernel is entered. Kernels and modules are only placed from 1 MiB on, so
 * nothing of theirs can overlap these.
 */
#define BOOT_GDT	   0x1000u
#define BOOT_INFO	   0x2000u  /* boot_params, hvm_start_info or Multiboot information */
#define BOOT_MEMMAP	   0x3000u  /* of PVH and Multiboot */
#define BOOT_MODLIST	   0x4000u  /* of PVH and Multiboot */
#define BOOT_STACK_TOP	   0x9000u
#define BOOT_PML4	   0x9000u  /* then the PDPT and four page directories: 4 GiB */
#define BOOT_STRINGS	   0x20000u /* command lines */
#define BOOT_STRINGS_SIZE  0x60000u
#define BOOT_CMDLINE_MAX   4095u /* characters, where the kernel's header sets no limit */
#define BOOT_ADDRESS_LIMIT (4 * GIB) /* kernels are entered with the first 4 GiB mapped */

#define BOOT_HEAD_SIZE 8192u /* bytes of a kernel file kept: Multiboot 0.6.96 3.1 */
#define BOOT_MAX_MAP   80u
#define BOOT_MAX_TAKEN (BOOT_MAX_MODULES + 1u + 64u)

enum boot_map_type { BOOT_MAP_RAM = 1, BOOT_MAP_RESERVED = 2 }; /* E820 numbers, used by all three */

struct boot_map_entry {
	gpa_t base;
	uint64_t size;
	enum boot_map_type type;
};

/* One attempt at loading. */
struct boot {
	struct guest_memory *gm;
	const struct boot_request *req;
	struct boot_cpu *cpu;
	char *why;
	size_t why_size;
	uint64_t kernel_size;	 /* bytes */
	size_t head_len;	 /* valid bytes of head */
	struct boot_map_entry map[BOOT_MAX_MAP]; /* ascending */
	unsigned int map_count;
	struct boot_range taken[BOOT_MAX_TAKEN]; /* kernel segments and modules */
	unsigned int taken_count;
	uint32_t strings_used; /* bytes of BOOT_STRINGS */
	uint8_t head[BOOT_HEAD_SIZE];
};

/* Writes `why` and returns err, which is negative. */
__attribute__((format(printf, 3, 4))) int boot_fail(struct boot *boot, int err, const char *fmt,
						     ...);

/* Size of a regular file, or -errno with why. */
must_check int boot_file_size(struct boot *boot, const struct boot_file *file, uint64_t *size);
/* Exactly len bytes; a short file is -EINVAL. what: "program headers", for why. */
must_check int boot_file_read(struct boot *boot, const struct boot_file *file, uint64_t offset,
			      void *buf, size_t len, const char *what);
/* The same into guest RAM that boot_take has granted. */
must_check int boot_file_to_guest(struct boot *boot, const struct boot_file *file, uint64_t offset,
				  gpa_t gpa, uint64_t len, const char *what);
must_check int boot_zero(struct boot *boot, gpa_t gpa, uint64_t len);
must_check int boot_write(struct boot *boot, gpa_t gpa, const void *buf, size_t len);

/* Claims a range for the kernel: RAM from 1 MiB to 4 GiB that nothing else has. */
must_check int boot_take(struct boot *boot, gpa_t gpa, uint64_t len, const char *what);
/* Loads a whole file page-aligned, as high as possible but below `limit`. */
must_check int boot_place_file(struct boot *boot, const struct boot_file *file, gpa_t limit,
			       struct boot_range *where);
/* Copies a string with its NUL to low memory; max: characters. */
must_check int boot_place_string(struct boot *boot, const char *string, size_t max, gpa_t *where);

struct boot_module {
	struct boot_range data;
	gpa_t cmdline; /* always a string, perhaps empty */
};

/* initrd and modules, in that order; returns their count or -errno. */
must_check int boot_place_modules(struct boot *boot, struct boot_module *modules);

/* GDT in guest RAM and the segment registers, 32-bit flat or 64-bit. */
must_check int boot_cpu_segments(struct boot *boot, bool long_mode);
/* 32-bit protected mode without paging, at entry: PVH, Multiboot. */
must_check int boot_cpu_protected(struct boot *boot, uint32_t entry);

bool boot_is_linux(const struct boot *boot);
must_check int boot_linux_load(struct boot *boot);

bool boot_is_elf(const struct boot *boot);

struct boot_elf {
	uint64_t entry; /* e_entry as a physical address */
	bool has_entry; /* it lies in a segment */
	bool has_pvh;
	uint64_t pvh_entry; /* XEN_ELFNOTE_PHYS32_ENTRY */
};

/* Checks the headers and finds the entries; with load, segments go to guest RAM too. */
must_check int boot_elf_read(struct boot *boot, bool load, struct boot_elf *elf);

must_check int boot_pvh_load(struct boot *boot);

/* Whether there is a Multiboot header with a good checksum; offset in the file. */
bool boot_multiboot_find(const struct boot *boot, uint32_t *offset);
must_check int boot_multiboot_load(struct boot *boot);

#endif
