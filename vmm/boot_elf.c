/*
 * ELF kernels, 32 and 64 bit, for PVH and Multiboot: segments go to their physical addresses
 * (p_paddr) and the notes are searched for XEN_ELFNOTE_PHYS32_ENTRY.
 */
#include "vmm/boot_internal.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_HEADERS   64u	  /* program headers; vmlinux has 5 */
#define MAX_NOTES     (64 * KIB)  /* bytes of one note segment */
#define PHYS32_ENTRY  18u	  /* xen/include/public/elfnote.h */

/* The fields we use, from either class. */
struct elf_file {
	bool is_64;
	uint64_t entry, phoff;
	unsigned int phnum, phentsize;
};

struct elf_segment {
	unsigned int index;
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

bool boot_is_elf(const struct boot *boot)
{
	return boot->head_len >= EI_NIDENT && memcmp(boot->head, ELFMAG, SELFMAG) == 0;
}

static int check_machine(struct boot *boot, uint16_t type, uint16_t machine)
{
	const char *name = boot->req->kernel.name;

	if (machine != EM_X86_64 && machine != EM_386)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: for ELF machine %u, 3 (i386) or 62 (x86-64) is needed",
				 name, machine);
	if (type != ET_EXEC)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: ELF type %u, 2 (executable) is needed", name, type);
	return 0;
}

static int read_file_header(struct boot *boot, struct elf_file *f)
{
	const char *name = boot->req->kernel.name;
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;
	int err;

	if (!boot_is_elf(boot))
		return boot_fail(boot, -EINVAL, "kernel %s: not an ELF file", name);
	f->is_64 = boot->head[EI_CLASS] == ELFCLASS64;
	if ((!f->is_64 && boot->head[EI_CLASS] != ELFCLASS32) ||
	    boot->head[EI_DATA] != ELFDATA2LSB)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: ELF class %u, data %u; little-endian ELF32 or ELF64 "
				 "is needed",
				 name, boot->head[EI_CLASS], boot->head[EI_DATA]);
	if (boot->head_len < (f->is_64 ? sizeof(h64) : sizeof(h32)))
		return boot_fail(boot, -EINVAL, "kernel %s: ends within the ELF header", name);
	memcpy(&h64, boot->head, MIN(sizeof(h64), boot->head_len));
	memcpy(&h32, boot->head, sizeof(h32));
	err = check_machine(boot, h32.e_type, h32.e_machine);
	f->entry = f->is_64 ? h64.e_entry : h32.e_entry;
	f->phoff = f->is_64 ? h64.e_phoff : h32.e_phoff;
	f->phnum = f->is_64 ? h64.e_phnum : h32.e_phnum;
	f->phentsize = f->is_64 ? h64.e_phentsize : h32.e_phentsize;
	return err;
}

static int check_program_headers(struct boot *boot, const struct elf_file *f)
{
	const char *name = boot->req->kernel.name;
	size_t want = f->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

	if (!f->phnum || f->phnum > MAX_HEADERS)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: %u program headers, 1 to %u are allowed", name,
				 f->phnum, MAX_HEADERS);
	if (f->phentsize != want)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: program headers of %u bytes each, %zu are needed",
				 name, f->phentsize, want);
	if (!range_within(f->phoff, f->phnum * want, boot->kernel_size))
		return boot_fail(boot, -EINVAL,
				 "kernel %s: program headers at 0x%llx lie beyond the file's "
				 "%llu bytes",
				 name, (unsigned long long)f->phoff,
				 (unsigned long long)boot->kernel_size);
	return 0;
}

static int read_segment(struct boot *boot, const struct elf_file *f, unsigned int index,
			struct elf_segment *s)
{
	const struct boot_file *kernel = &boot->req->kernel;
	uint64_t at = f->phoff + index * f->phentsize;
	Elf64_Phdr p64 = {0};
	Elf32_Phdr p32 = {0};
	int err;

	if (f->is_64)
		err = boot_file_read(boot, kernel, at, &p64, sizeof(p64), "the program headers");
	else
		err = boot_file_read(boot, kernel, at, &p32, sizeof(p32), "the program headers");
	*s = (struct elf_segment){
		.index = index,
		.type = f->is_64 ? p64.p_type : p32.p_type,
		.offset = f->is_64 ? p64.p_offset : p32.p_offset,
		.vaddr = f->is_64 ? p64.p_vaddr : p32.p_vaddr,
		.paddr = f->is_64 ? p64.p_paddr : p32.p_paddr,
		.filesz = f->is_64 ? p64.p_filesz : p32.p_filesz,
		.memsz = f->is_64 ? p64.p_memsz : p32.p_memsz,
		.align = f->is_64 ? p64.p_align : p32.p_align,
	};
	if (err || (s->type != PT_LOAD && s->type != PT_NOTE))
		return err;
	if (!range_within(s->offset, s->filesz, boot->kernel_size))
		return boot_fail(boot, -EINVAL,
				 "kernel %s: program header %u: 0x%llx bytes at 0x%llx end beyond "
				 "the file's %llu bytes",
				 kernel->name, index, (unsigned long long)s->filesz,
				 (unsigned long long)s->offset,
				 (unsigned long long)boot->kernel_size);
	return 0;
}

/* Remembers the physical entry when it lies in this segment. */
static void match_entry(const struct elf_file *f, const struct elf_segment *s,
			struct boot_elf *elf)
{
	if (f->entry - s->vaddr < s->memsz && f->entry >= s->vaddr) {
		elf->entry = s->paddr + (f->entry - s->vaddr);
		elf->has_entry = true;
	}
}

static int load_segment(struct boot *boot, const struct elf_segment *s)
{
	char what[32];
	int err;

	if (s->memsz < s->filesz)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: program header %u has 0x%llx bytes in the file but "
				 "only 0x%llx in memory",
				 boot->req->kernel.name, s->index, (unsigned long long)s->filesz,
				 (unsigned long long)s->memsz);
	if (!s->memsz)
		return 0;
	snprintf(what, sizeof(what), "program header %u", s->index);
	err = boot_take(boot, s->paddr, s->memsz, what);
	if (!err)
		err = boot_file_to_guest(boot, &boot->req->kernel, s->offset, s->paddr, s->filesz,
					 what);
	return err ? err : boot_zero(boot, s->paddr + s->filesz, s->memsz - s->filesz);
}

/* Name and descriptor are padded to 4 bytes each, or 8 where the segment says so. */
static void search_notes(const uint8_t *notes, uint64_t size, uint64_t align,
			 struct boot_elf *elf)
{
	uint64_t pad = align == 8 ? 8 : 4;
	uint64_t at = 0;

	while (range_within(at, sizeof(Elf32_Nhdr), size)) {
		Elf32_Nhdr h;
		uint64_t name, desc;

		memcpy(&h, notes + at, sizeof(h));
		name = at + sizeof(h);
		desc = ALIGN_UP(name + h.n_namesz, pad);
		if (!range_within(name, h.n_namesz, size) || !range_within(desc, h.n_descsz, size))
			return;
		if (h.n_type == PHYS32_ENTRY && h.n_namesz == 4 &&
		    memcmp(notes + name, "Xen", 4) == 0 && (h.n_descsz == 4 || h.n_descsz == 8)) {
			elf->has_pvh = true;
			elf->pvh_entry = h.n_descsz == 8 ? get_le64(notes + desc) :
							   get_le32(notes + desc);
			return;
		}
		at = ALIGN_UP(desc + h.n_descsz, pad);
	}
}

static int read_notes(struct boot *boot, const struct elf_segment *s, struct boot_elf *elf)
{
	uint8_t *notes;
	int err;

	if (s->filesz > MAX_NOTES)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: program header %u: %llu bytes of notes, at most %llu "
				 "are allowed",
				 boot->req->kernel.name, s->index, (unsigned long long)s->filesz,
				 MAX_NOTES);
	notes = malloc(s->filesz ? s->filesz : 1);
	if (!notes)
		return boot_fail(boot, -ENOMEM, "out of memory");
	err = boot_file_read(boot, &boot->req->kernel, s->offset, notes, s->filesz, "the notes");
	if (!err)
		search_notes(notes, s->filesz, s->align, elf);
	free(notes);
	return err;
}

int boot_elf_read(struct boot *boot, bool load, struct boot_elf *elf)
{
	struct elf_file f = {0};
	int err;

	memset(elf, 0, sizeof(*elf));
	err = read_file_header(boot, &f);
	if (!err)
		err = check_program_headers(boot, &f);
	for (unsigned int i = 0; !err && i < f.phnum; i++) {
		struct elf_segment s;

		err = read_segment(boot, &f, i, &s);
		if (err)
			break;
		if (s.type == PT_NOTE && !elf->has_pvh)
			err = read_notes(boot, &s, elf);
		if (s.type == PT_LOAD) {
			match_entry(&f, &s, elf);
			if (load)
				err = load_segment(boot, &s);
		}
	}
	return err;
}
