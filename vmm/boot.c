#include "vmm/boot.h"

#include <errno.h>
#include <stdio.h>

#include "vmm/boot_internal.h"

static const char *const protocol_names[] = {
	[BOOT_AUTO] = "auto",
	[BOOT_LINUX] = "linux",
	[BOOT_PVH] = "pvh",
	[BOOT_MULTIBOOT] = "multiboot",
};

int boot_protocol_parse(const char *name, enum boot_protocol *protocol)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(protocol_names); i++) {
		if (strcmp(name, protocol_names[i]) == 0) {
			*protocol = (enum boot_protocol)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *boot_protocol_name(enum boot_protocol protocol)
{
	return protocol_names[protocol];
}

static int map_add(struct boot *boot, gpa_t base, uint64_t size, enum boot_map_type type)
{
	unsigned int i = boot->map_count;

	if (!size)
		return 0;
	if (i == BOOT_MAX_MAP)
		return boot_fail(boot, -ENOSPC, "the memory map has more than %u entries",
				 BOOT_MAX_MAP);
	for (; i && boot->map[i - 1].base > base; i--)
		boot->map[i] = boot->map[i - 1];
	boot->map[i] = (struct boot_map_entry){.base = base, .size = size, .type = type};
	boot->map_count++;
	return 0;
}

/* The part of a slot in [from, to). */
static int map_add_part(struct boot *boot, const struct mem_slot *slot, gpa_t from, gpa_t to)
{
	gpa_t base = MAX(slot->gpa, from);
	gpa_t end = MIN(slot->gpa + slot->size, to);

	return base < end ? map_add(boot, base, end - base, BOOT_MAP_RAM) : 0;
}

/* Slots of adjoining nodes are one range for the guest. */
static void map_merge(struct boot *boot)
{
	unsigned int kept = 0;

	for (unsigned int i = 1; i < boot->map_count; i++) {
		struct boot_map_entry *last = &boot->map[kept];

		if (boot->map[i].type == last->type && last->base + last->size == boot->map[i].base)
			last->size += boot->map[i].size;
		else
			boot->map[++kept] = boot->map[i];
	}
	if (boot->map_count)
		boot->map_count = kept + 1;
}

static int map_build(struct boot *boot)
{
	const struct boot_request *req = boot->req;
	int err;

	err = map_add(boot, BOOT_LOW_RAM_END, BOOT_HIGH_RAM_START - BOOT_LOW_RAM_END,
		      BOOT_MAP_RESERVED);
	for (unsigned int i = 0; !err && i < guest_memory_slot_count(boot->gm); i++) {
		const struct mem_slot *slot = guest_memory_slot(boot->gm, i);

		if (slot->read_only)
			continue;
		err = map_add_part(boot, slot, 0, BOOT_LOW_RAM_END);
		if (!err)
			err = map_add_part(boot, slot, BOOT_HIGH_RAM_START, UINT64_MAX);
	}
	for (unsigned int i = 0; !err && i < req->reserved_count; i++)
		err = map_add(boot, req->reserved[i].base, req->reserved[i].size,
			      BOOT_MAP_RESERVED);
	if (err)
		return err;
	map_merge(boot);
	for (unsigned int i = 1; i < boot->map_count; i++) {
		if (boot->map[i - 1].base + boot->map[i - 1].size > boot->map[i].base)
			return boot_fail(boot, -EINVAL,
					 "the memory map's range at 0x%llx overlaps the one before",
					 (unsigned long long)boot->map[i].base);
	}
	if (!guest_memory_ptr(boot->gm, 0, BOOT_LOW_RAM_END))
		return boot_fail(boot, -EINVAL, "the guest has no RAM at 0..0x%x",
				 BOOT_LOW_RAM_END);
	return 0;
}

static int read_head(struct boot *boot)
{
	const struct boot_file *kernel = &boot->req->kernel;
	int err = boot_file_size(boot, kernel, &boot->kernel_size);

	if (err)
		return err;
	boot->head_len = (size_t)MIN(boot->kernel_size, BOOT_HEAD_SIZE);
	return boot_file_read(boot, kernel, 0, boot->head, boot->head_len, "its beginning");
}

static int detect_elf(struct boot *boot, enum boot_protocol *protocol)
{
	struct boot_elf elf;
	uint32_t offset;
	int err = boot_elf_read(boot, false, &elf);

	if (err)
		return err;
	if (elf.has_pvh)
		*protocol = BOOT_PVH;
	else if (boot_multiboot_find(boot, &offset))
		*protocol = BOOT_MULTIBOOT;
	else
		return boot_fail(boot, -EINVAL,
				 "kernel %s: an ELF file with neither a PVH entry note nor a "
				 "Multiboot header",
				 boot->req->kernel.name);
	return 0;
}

static int detect(struct boot *boot, enum boot_protocol *protocol)
{
	const uint8_t *h = boot->head;
	uint32_t offset;

	*protocol = boot->req->protocol;
	if (*protocol != BOOT_AUTO)
		return 0;
	if (boot_is_linux(boot)) {
		*protocol = BOOT_LINUX;
		return 0;
	}
	if (boot_is_elf(boot))
		return detect_elf(boot, protocol);
	if (boot_multiboot_find(boot, &offset)) {
		*protocol = BOOT_MULTIBOOT;
		return 0;
	}
	if (boot->head_len < 4)
		return boot_fail(boot, -EINVAL, "kernel %s: only %zu bytes long",
				 boot->req->kernel.name, boot->head_len);
	return boot_fail(boot, -EINVAL,
			 "kernel %s: neither a bzImage, an ELF file nor a Multiboot kernel "
			 "(it begins with %02x %02x %02x %02x)",
			 boot->req->kernel.name, h[0], h[1], h[2], h[3]);
}

static int load(struct boot *boot)
{
	enum boot_protocol protocol;
	int err;

	if (boot->req->module_count > BOOT_MAX_MODULES)
		return boot_fail(boot, -EINVAL, "%u modules, at most %u are allowed",
				 boot->req->module_count, BOOT_MAX_MODULES);
	err = map_build(boot);
	if (!err)
		err = read_head(boot);
	if (!err)
		err = detect(boot, &protocol);
	if (err)
		return err;
	switch (protocol) {
	case BOOT_LINUX:
		return boot_linux_load(boot);
	case BOOT_PVH:
		return boot_pvh_load(boot);
	default:
		return boot_multiboot_load(boot);
	}
}

int boot_load(struct guest_memory *gm, const struct boot_request *req, struct boot_cpu *cpu,
	      char *why, size_t why_size)
{
	/* 12 KiB: fine on the io thread's stack. */
	struct boot boot = {
		.gm = gm,
		.req = req,
		.cpu = cpu,
		.why = why,
		.why_size = why_size,
	};

	memset(cpu, 0, sizeof(*cpu));
	cpu->rflags = 2;
	return load(&boot);
}
