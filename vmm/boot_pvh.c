/*
 * The PVH entry: xen/include/public/arch-x86/hvm/start_info.h (structures) and
 * docs/misc/pvh.pandoc (processor state): 32-bit, no paging, EBX = start info.
 */
#include "vmm/boot_internal.h"

#include <errno.h>

#define START_MAGIC 0x336ec578u

struct start_info {
	uint32_t magic;
	uint32_t version; /* 1: with a memory map */
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memmap;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct start_module {
	uint64_t base;
	uint64_t size;
	uint64_t cmdline;
	uint64_t reserved;
};

struct start_memmap {
	uint64_t base;
	uint64_t size;
	uint32_t type; /* E820's */
	uint32_t reserved;
};

_Static_assert(sizeof(struct start_info) == 56, "start_info");
_Static_assert(BOOT_MAX_MAP * sizeof(struct start_memmap) <= BOOT_MODLIST - BOOT_MEMMAP, "map");

static int write_memmap(struct boot *boot)
{
	struct start_memmap map[BOOT_MAX_MAP] = {0};

	for (unsigned int i = 0; i < boot->map_count; i++) {
		map[i].base = boot->map[i].base;
		map[i].size = boot->map[i].size;
		map[i].type = boot->map[i].type;
	}
	return boot_write(boot, BOOT_MEMMAP, map, boot->map_count * sizeof(map[0]));
}

static int write_modules(struct boot *boot, struct start_info *info)
{
	struct boot_module modules[BOOT_MAX_MODULES + 1];
	struct start_module list[BOOT_MAX_MODULES + 1] = {0};
	int n = boot_place_modules(boot, modules);

	if (n <= 0)
		return n;
	for (int i = 0; i < n; i++) {
		list[i].base = modules[i].data.base;
		list[i].size = modules[i].data.size;
		list[i].cmdline = modules[i].cmdline;
	}
	info->nr_modules = (uint32_t)n;
	info->modlist = BOOT_MODLIST;
	return boot_write(boot, BOOT_MODLIST, list, (size_t)n * sizeof(list[0]));
}

static int check_entry(struct boot *boot, const struct boot_elf *elf)
{
	const char *name = boot->req->kernel.name;

	if (!elf->has_pvh)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: no PVH entry (ELF note Xen, type 18); a Linux kernel "
				 "needs CONFIG_PVH",
				 name);
	for (unsigned int i = 0; i < boot->taken_count; i++) {
		if (elf->pvh_entry >= boot->taken[i].base &&
		    elf->pvh_entry - boot->taken[i].base < boot->taken[i].size)
			return 0;
	}
	return boot_fail(boot, -EINVAL, "kernel %s: the PVH entry 0x%llx lies in no segment", name,
			 (unsigned long long)elf->pvh_entry);
}

int boot_pvh_load(struct boot *boot)
{
	struct start_info info = {
		.magic = START_MAGIC,
		.version = 1,
		.rsdp = boot->req->rsdp,
		.memmap = BOOT_MEMMAP,
		.memmap_entries = boot->map_count,
	};
	struct boot_elf elf;
	int err;

	err = boot_elf_read(boot, true, &elf);
	if (!err)
		err = check_entry(boot, &elf);
	if (!err)
		err = write_modules(boot, &info);
	if (!err)
		err = boot_place_string(boot, boot->req->cmdline, BOOT_CMDLINE_MAX, &info.cmdline);
	if (!err)
		err = write_memmap(boot);
	if (!err)
		err = boot_write(boot, BOOT_INFO, &info, sizeof(info));
	if (err)
		return err;
	boot->cpu->rbx = BOOT_INFO;
	return boot_cpu_protected(boot, (uint32_t)elf.pvh_entry);
}
