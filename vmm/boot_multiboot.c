/*
 * Multiboot specification 0.6.96: kernels that are ELF files or, by the header's address fields,
 * flat images; memory map, command line, modules, boot loader name.
 */
#include "vmm/boot_internal.h"

#include <errno.h>

#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC  0x2badb002u /* in EAX */
#define HEADER_SIZE  12u
#define KLUDGE_SIZE  32u /* header with the address fields */

/* Header flags (3.1.2); modules are page-aligned and the memory map given in any case. */
#define WANTS_ALIGNED 0x00001u
#define WANTS_MEMORY  0x00002u
#define MUST_KNOW     0x0ffffu
#define HAS_ADDRESSES 0x10000u

/* Information flags (3.3). */
#define INFO_MEMORY  0x001u
#define INFO_CMDLINE 0x004u
#define INFO_MODS    0x008u
#define INFO_MMAP    0x040u
#define INFO_LOADER  0x200u

struct mb_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
};

struct mb_module {
	uint32_t start, end;
	uint32_t cmdline;
	uint32_t reserved;
};

struct mb_mmap {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

_Static_assert(BOOT_MAX_MAP * sizeof(struct mb_mmap) <= BOOT_MODLIST - BOOT_MEMMAP, "map");

bool boot_multiboot_find(const struct boot *boot, uint32_t *offset)
{
	for (uint32_t at = 0; at + HEADER_SIZE <= boot->head_len; at += 4) {
		const uint8_t *h = boot->head + at;

		if (get_le32(h) == HEADER_MAGIC &&
		    get_le32(h) + get_le32(h + 4) + get_le32(h + 8) == 0) {
			*offset = at;
			return true;
		}
	}
	return false;
}

/* The address fields (3.1.3): a flat image, whatever the file's own format says. */
struct kludge {
	uint32_t header, load, load_end, bss_end, entry;
	uint64_t offset; /* in the file */
	uint64_t size;	 /* bytes to load */
	uint64_t memory; /* bytes in memory */
};

static int parse_kludge(struct boot *boot, uint32_t at, struct kludge *k)
{
	const uint8_t *h = boot->head + at;
	const char *name = boot->req->kernel.name;

	if (!range_within(at, KLUDGE_SIZE, boot->head_len))
		return boot_fail(boot, -EINVAL, "kernel %s: ends within the Multiboot header",
				 name);
	k->header = get_le32(h + 12);
	k->load = get_le32(h + 16);
	k->load_end = get_le32(h + 20);
	k->bss_end = get_le32(h + 24);
	k->entry = get_le32(h + 28);
	if (k->header < k->load || k->header - k->load > at)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: Multiboot load_addr 0x%x does not go with header_addr "
				 "0x%x and the header's offset 0x%x in the file",
				 name, k->load, k->header, at);
	k->offset = at - (k->header - k->load);
	k->size = boot->kernel_size - k->offset;
	if (k->load_end) {
		if (k->load_end < k->load || k->load_end - k->load > k->size)
			return boot_fail(boot, -EINVAL,
					 "kernel %s: Multiboot load_end_addr 0x%x is below load_addr "
					 "0x%x or beyond the file's %llu bytes",
					 name, k->load_end, k->load,
					 (unsigned long long)boot->kernel_size);
		k->size = k->load_end - k->load;
	}
	k->memory = k->size;
	if (k->bss_end) {
		if (k->bss_end < k->load || k->bss_end - k->load < k->size)
			return boot_fail(boot, -EINVAL,
					 "kernel %s: Multiboot bss_end_addr 0x%x lies before the "
					 "end of the loaded part",
					 name, k->bss_end);
		k->memory = k->bss_end - k->load;
	}
	if (k->entry < k->load || k->entry - k->load >= k->size)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: Multiboot entry_addr 0x%x lies outside the loaded part",
				 name, k->entry);
	return 0;
}

static int load_flat(struct boot *boot, uint32_t at, uint32_t *entry)
{
	struct kludge k = {0};
	int err = parse_kludge(boot, at, &k);

	if (!err)
		err = boot_take(boot, k.load, k.memory, "the image");
	if (!err)
		err = boot_file_to_guest(boot, &boot->req->kernel, k.offset, k.load, k.size,
					 "the image");
	if (!err)
		err = boot_zero(boot, k.load + k.size, k.memory - k.size);
	*entry = k.entry;
	return err;
}

static int load_elf(struct boot *boot, uint32_t *entry)
{
	struct boot_elf elf;
	int err = boot_elf_read(boot, true, &elf);

	if (err)
		return err;
	if (!elf.has_entry)
		return boot_fail(boot, -EINVAL, "kernel %s: the ELF entry lies in no segment",
				 boot->req->kernel.name);
	*entry = (uint32_t)elf.entry; /* below 4 GiB: its segment was taken there */
	return 0;
}

static int load_kernel(struct boot *boot, uint32_t *entry)
{
	const char *name = boot->req->kernel.name;
	uint32_t at, flags;

	if (!boot_multiboot_find(boot, &at))
		return boot_fail(boot, -EINVAL,
				 "kernel %s: no Multiboot header in its first %u bytes", name,
				 BOOT_HEAD_SIZE);
	flags = get_le32(boot->head + at + 4);
	if (flags & MUST_KNOW & ~(WANTS_ALIGNED | WANTS_MEMORY))
		return boot_fail(boot, -EINVAL,
				 "kernel %s: Multiboot flags 0x%x ask for more than aligned modules "
				 "and a memory map (0x3); there is no display to set a mode of",
				 name, flags);
	return flags & HAS_ADDRESSES ? load_flat(boot, at, entry) : load_elf(boot, entry);
}

static int write_memory(struct boot *boot, struct mb_info *info)
{
	struct mb_mmap map[BOOT_MAX_MAP];

	for (unsigned int i = 0; i < boot->map_count; i++) {
		const struct boot_map_entry *e = &boot->map[i];

		map[i] = (struct mb_mmap){
			.size = sizeof(map[i]) - sizeof(map[i].size),
			.base = e->base,
			.length = e->size,
			.type = e->type,
		};
		if (e->type == BOOT_MAP_RAM && e->base == BOOT_HIGH_RAM_START)
			info->mem_upper = (uint32_t)MIN(e->size / KIB, UINT32_MAX);
	}
	info->mem_lower = BOOT_LOW_RAM_END / KIB;
	info->mmap_addr = BOOT_MEMMAP;
	info->mmap_length = boot->map_count * (uint32_t)sizeof(map[0]);
	info->flags |= INFO_MEMORY | INFO_MMAP;
	return boot_write(boot, BOOT_MEMMAP, map, info->mmap_length);
}

static int write_modules(struct boot *boot, struct mb_info *info)
{
	struct boot_module modules[BOOT_MAX_MODULES + 1];
	struct mb_module list[BOOT_MAX_MODULES + 1] = {0};
	int n = boot_place_modules(boot, modules);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		list[i].start = (uint32_t)modules[i].data.base;
		list[i].end = (uint32_t)(modules[i].data.base + modules[i].data.size);
		list[i].cmdline = (uint32_t)modules[i].cmdline;
	}
	info->mods_count = (uint32_t)n;
	info->mods_addr = BOOT_MODLIST;
	info->flags |= INFO_MODS;
	return boot_write(boot, BOOT_MODLIST, list, (size_t)n * sizeof(list[0]));
}

static int write_strings(struct boot *boot, struct mb_info *info)
{
	gpa_t cmdline, loader;
	int err = boot_place_string(boot, boot->req->cmdline, BOOT_CMDLINE_MAX, &cmdline);

	if (!err)
		err = boot_place_string(boot, "vmm", BOOT_CMDLINE_MAX, &loader);
	if (err)
		return err;
	info->cmdline = (uint32_t)cmdline;
	info->boot_loader_name = (uint32_t)loader;
	info->flags |= INFO_CMDLINE | INFO_LOADER;
	return 0;
}

int boot_multiboot_load(struct boot *boot)
{
	struct mb_info info = {0};
	uint32_t entry = 0;
	int err;

	err = load_kernel(boot, &entry);
	if (!err)
		err = write_modules(boot, &info);
	if (!err)
		err = write_strings(boot, &info);
	if (!err)
		err = write_memory(boot, &info);
	if (!err)
		err = boot_write(boot, BOOT_INFO, &info, sizeof(info));
	if (err)
		return err;
	boot->cpu->rax = ENTRY_MAGIC;
	boot->cpu->rbx = BOOT_INFO;
	return boot_cpu_protected(boot, entry);
}
