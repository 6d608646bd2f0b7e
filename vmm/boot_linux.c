/*
 * bzImage by the 64-bit boot protocol: Documentation/arch/x86/boot.rst. Offsets are those of the
 * setup header, which are the same in the file and in struct boot_params ("zero page").
 */
#include "vmm/boot_internal.h"

#include <errno.h>

#define HDR_START	   0x1f1u
#define HDR_SETUP_SECTS	   0x1f1u
#define HDR_SYSSIZE	   0x1f4u
#define HDR_VID_MODE	   0x1fau
#define HDR_BOOT_FLAG	   0x1feu
#define HDR_JUMP_OFFSET	   0x201u /* the header ends at 202h + this */
#define HDR_MAGIC	   0x202u
#define HDR_VERSION	   0x206u
#define HDR_TYPE_OF_LOADER 0x210u
#define HDR_LOADFLAGS	   0x211u
#define HDR_CODE32_START   0x214u
#define HDR_RAMDISK_IMAGE  0x218u
#define HDR_RAMDISK_SIZE   0x21cu
#define HDR_CMD_LINE_PTR   0x228u
#define HDR_INITRD_MAX	   0x22cu
#define HDR_XLOADFLAGS	   0x236u
#define HDR_CMDLINE_SIZE   0x238u
#define HDR_SETUP_DATA	   0x250u
#define HDR_PREF_ADDRESS   0x258u
#define HDR_INIT_SIZE	   0x260u
#define HDR_LEAST	   0x264u /* bytes a 2.12 header reaches at least */
#define HDR_END		   0x290u /* boot_params has other things from here on */

#define PARAMS_SIZE	    4096u
#define PARAMS_RSDP	    0x070u
#define PARAMS_E820_ENTRIES 0x1e8u
#define PARAMS_E820_TABLE   0x2d0u
#define E820_SIZE	    20u

#define MAGIC		  0x53726448u /* "HdrS" */
#define LEAST_VERSION	  0x20cu
#define LOADED_HIGH	  0x01u
#define XLF_KERNEL_64	  0x01u
#define LOADER_UNDEFINED  0xffu
#define ENTRY_64	  0x200u
#define SECTOR		  512u
#define VID_MODE_NORMAL	  0xffffu

#define PTE_PRESENT 0x01u
#define PTE_WRITE   0x02u
#define PTE_LARGE   0x80u

struct linux_kernel {
	uint64_t setup_size; /* bytes before the protected-mode part */
	uint64_t size;	     /* bytes of that part to load */
	gpa_t load;
	uint64_t memory; /* bytes it needs at load until it has its own page tables */
	uint32_t initrd_max;
	uint32_t cmdline_max;
};

bool boot_is_linux(const struct boot *boot)
{
	return boot->head_len >= HDR_LEAST && get_le16(boot->head + HDR_BOOT_FLAG) == 0xaa55 &&
	       get_le32(boot->head + HDR_MAGIC) == MAGIC;
}

static int check_version(struct boot *boot)
{
	const uint8_t *h = boot->head;
	const char *name = boot->req->kernel.name;
	unsigned int version;

	if (!boot_is_linux(boot))
		return boot_fail(boot, -EINVAL, "kernel %s: no Linux setup header (bzImage)", name);
	version = get_le16(h + HDR_VERSION);
	if (version < LEAST_VERSION)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: boot protocol %u.%02u, at least 2.12 is needed", name,
				 version >> 8, version & 0xff);
	if (!(h[HDR_LOADFLAGS] & LOADED_HIGH))
		return boot_fail(boot, -EINVAL, "kernel %s: a zImage, a bzImage is needed", name);
	if (!(get_le16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return boot_fail(boot, -EINVAL, "kernel %s: has no 64-bit entry point", name);
	return 0;
}

static int parse(struct boot *boot, struct linux_kernel *k)
{
	const uint8_t *h = boot->head;
	const char *name = boot->req->kernel.name;
	unsigned int sectors = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4;
	uint64_t rest;
	int err = check_version(boot);

	if (err)
		return err;
	k->setup_size = (sectors + 1) * SECTOR;
	k->size = (uint64_t)get_le32(h + HDR_SYSSIZE) * 16;
	k->load = get_le64(h + HDR_PREF_ADDRESS);
	k->initrd_max = get_le32(h + HDR_INITRD_MAX);
	k->cmdline_max = get_le32(h + HDR_CMDLINE_SIZE);
	rest = boot->kernel_size > k->setup_size ? boot->kernel_size - k->setup_size : 0;
	/* The last paragraph may be partly filled. */
	if (ALIGN_UP(rest, 16) < k->size)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: its code ends at 0x%llx beyond the file's %llu bytes",
				 name, (unsigned long long)(k->setup_size + k->size),
				 (unsigned long long)boot->kernel_size);
	k->size = MIN(k->size, rest);
	if (k->size <= ENTRY_64)
		return boot_fail(boot, -EINVAL, "kernel %s: %llu bytes of code are too few", name,
				 (unsigned long long)k->size);
	k->memory = MAX(k->size, get_le32(h + HDR_INIT_SIZE));
	return 0;
}

/* Identity mapping of the first 4 GiB by 2 MiB pages. */
static int write_page_tables(struct boot *boot)
{
	uint64_t table[512] = {BOOT_PML4 + 0x1000u + PTE_PRESENT + PTE_WRITE};
	int err = boot_write(boot, BOOT_PML4, table, sizeof(table));

	for (unsigned int i = 0; i < 4; i++)
		table[i] = BOOT_PML4 + 0x2000u + i * 0x1000u + PTE_PRESENT + PTE_WRITE;
	if (!err)
		err = boot_write(boot, BOOT_PML4 + 0x1000u, table, sizeof(table));
	for (unsigned int i = 0; !err && i < 4; i++) {
		for (unsigned int j = 0; j < 512; j++)
			table[j] = i * GIB + j * 2 * MIB + PTE_PRESENT + PTE_WRITE + PTE_LARGE;
		err = boot_write(boot, BOOT_PML4 + 0x2000u + i * 0x1000u, table, sizeof(table));
	}
	return err;
}

static void put_e820(const struct boot *boot, uint8_t *params)
{
	uint8_t *e = params + PARAMS_E820_TABLE;

	for (unsigned int i = 0; i < boot->map_count; i++, e += E820_SIZE) {
		put_le64(e, boot->map[i].base);
		put_le64(e + 8, boot->map[i].size);
		put_le32(e + 16, boot->map[i].type);
	}
	params[PARAMS_E820_ENTRIES] = (uint8_t)boot->map_count;
}

static int write_params(struct boot *boot, const struct linux_kernel *k,
			const struct boot_range *initrd, gpa_t cmdline)
{
	uint8_t params[PARAMS_SIZE] = {0};
	uint32_t end = MIN(HDR_MAGIC + boot->head[HDR_JUMP_OFFSET], HDR_END);

	_Static_assert(PARAMS_E820_TABLE + BOOT_MAX_MAP * E820_SIZE <= 0xd00, "E820 table");
	/* At least up to what we set; a lying length cannot shorten it. */
	end = MAX(end, HDR_LEAST);
	memcpy(params + HDR_START, boot->head + HDR_START, end - HDR_START);
	put_le16(params + HDR_VID_MODE, VID_MODE_NORMAL);
	params[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put_le32(params + HDR_CODE32_START, (uint32_t)k->load);
	put_le32(params + HDR_RAMDISK_IMAGE, (uint32_t)initrd->base);
	put_le32(params + HDR_RAMDISK_SIZE, (uint32_t)initrd->size);
	put_le32(params + HDR_CMD_LINE_PTR, (uint32_t)cmdline);
	put_le64(params + HDR_SETUP_DATA, 0);
	put_le64(params + PARAMS_RSDP, boot->req->rsdp);
	put_e820(boot, params);
	return boot_write(boot, BOOT_INFO, params, sizeof(params));
}

static int enter_long_mode(struct boot *boot, gpa_t entry)
{
	struct boot_cpu *cpu = boot->cpu;
	int err = write_page_tables(boot);

	if (err)
		return err;
	cpu->rip = entry;
	cpu->rsp = BOOT_STACK_TOP;
	cpu->rsi = BOOT_INFO;
	cpu->cr0 = 0x80000033u; /* PG, NE, ET, MP, PE */
	cpu->cr3 = BOOT_PML4;
	cpu->cr4 = 0x20u;   /* PAE */
	cpu->efer = 0x500u; /* LMA, LME */
	return boot_cpu_segments(boot, true);
}

int boot_linux_load(struct boot *boot)
{
	const struct boot_request *req = boot->req;
	struct boot_range initrd = {0};
	struct linux_kernel k = {0};
	gpa_t cmdline;
	int err;

	if (req->module_count)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: modules are for PVH and Multiboot kernels; the Linux "
				 "protocol takes an initrd",
				 req->kernel.name);
	err = parse(boot, &k);
	if (err)
		return err;
	err = boot_take(boot, k.load, k.memory, "the kernel while unpacking itself");
	if (err)
		return err;
	err = boot_file_to_guest(boot, &req->kernel, k.setup_size, k.load, k.size, "its code");
	if (err)
		return err;
	if (req->initrd) {
		err = boot_place_file(boot, req->initrd, (gpa_t)k.initrd_max + 1, &initrd);
		if (err)
			return err;
	}
	err = boot_place_string(boot, req->cmdline, k.cmdline_max, &cmdline);
	if (err)
		return err;
	err = write_params(boot, &k, &initrd, cmdline);
	return err ? err : enter_long_mode(boot, k.load + ENTRY_64);
}
