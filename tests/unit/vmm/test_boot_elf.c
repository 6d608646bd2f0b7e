/* ELF and Multiboot: what goes where, and what is refused. */
#include "boot_env.h"

#include <elf.h>
#include <unistd.h>

#define NOTE_AT	 0x200u
#define TEXT_AT	 0x400u
#define TEXT_LEN 0x100u
#define LOAD	 0x200000u
#define FILE_LEN (TEXT_AT + TEXT_LEN)

static struct {
	union {
		struct {
			Elf64_Ehdr h;
			Elf64_Phdr p[2];
		} e64;
		struct {
			Elf32_Ehdr h;
			Elf32_Phdr p[2];
		} e32;
		uint8_t bytes[FILE_LEN];
	};
} f;

static void put_note(uint32_t desc_len, uint64_t entry)
{
	put_le32(f.bytes + NOTE_AT, 4);
	put_le32(f.bytes + NOTE_AT + 4, desc_len);
	put_le32(f.bytes + NOTE_AT + 8, 18);
	memcpy(f.bytes + NOTE_AT + 12, "Xen", 4);
	put_le64(f.bytes + NOTE_AT + 16, entry);
}

static void put_multiboot(uint32_t flags)
{
	uint32_t *h = (uint32_t *)(void *)(f.bytes + TEXT_AT);

	h[0] = 0x1badb002;
	h[1] = flags;
	h[2] = 0 - h[0] - h[1];
}

static void make_elf64(void)
{
	memset(&f, 0, sizeof(f));
	memset(f.bytes + TEXT_AT, 0xf4, TEXT_LEN);
	f.e64.h = (Elf64_Ehdr){
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = 0xffffffff80000010,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	f.e64.p[0] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT_AT,
		.p_vaddr = 0xffffffff80000000,
		.p_paddr = LOAD,
		.p_filesz = TEXT_LEN,
		.p_memsz = 0x3000,
	};
	f.e64.p[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = 24};
}

static void make_elf32(void)
{
	memset(&f, 0, sizeof(f));
	memset(f.bytes + TEXT_AT, 0xf4, TEXT_LEN);
	f.e32.h = (Elf32_Ehdr){
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_entry = LOAD + 0x20,
		.e_phoff = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 1,
	};
	f.e32.p[0] = (Elf32_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT_AT,
		.p_vaddr = LOAD,
		.p_paddr = LOAD,
		.p_filesz = TEXT_LEN,
		.p_memsz = TEXT_LEN,
	};
}

static void refresh(struct boot_env *env)
{
	boot_env_kernel(env, f.bytes, FILE_LEN);
}

static void check_protected_mode(const struct boot_cpu *cpu)
{
	assert_int_equal(cpu->cr0 & 0x80000001, 1);
	assert_int_equal(cpu->cr4, 0);
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(cpu->rflags, 2);
	assert_true(cpu->cs.default_32 && !cpu->cs.long_mode);
	assert_int_equal(cpu->cs.limit, UINT32_MAX);
	assert_int_equal(cpu->tr.type, 0xb);
}

static void test_pvh(void **state)
{
	struct boot_env *env = *state;
	struct boot_file initrd = {.fd = boot_env_file("IRD", 3), .name = "initrd"};
	const uint8_t *info, *mod, *map;

	make_elf64();
	put_note(8, LOAD + 0x40);
	refresh(env);
	env->req.cmdline = "quiet";
	env->req.rsdp = 0xe0000;
	env->req.initrd = &initrd;
	memset(guest_memory_ptr(env->gm, LOAD, 0x3000), 0xff, 0x3000);
	assert_int_equal(boot_env_load(env), 0);
	check_protected_mode(&env->cpu);
	assert_int_equal(env->cpu.rip, LOAD + 0x40);
	assert_int_equal(*boot_env_guest(env, LOAD + TEXT_LEN - 1, 1), 0xf4);
	assert_int_equal(*boot_env_guest(env, LOAD + TEXT_LEN, 1), 0);
	assert_int_equal(*boot_env_guest(env, LOAD + 0x2fff, 1), 0);

	info = boot_env_guest(env, env->cpu.rbx, 56);
	assert_int_equal(get_le32(info), 0x336ec578);
	assert_int_equal(get_le32(info + 4), 1);
	assert_int_equal(get_le32(info + 12), 1);
	mod = boot_env_guest(env, get_le64(info + 16), 32);
	assert_memory_equal(boot_env_guest(env, get_le64(mod), 3), "IRD", 3);
	assert_int_equal(get_le64(mod + 8), 3);
	assert_string_equal(boot_env_guest(env, get_le64(info + 24), 6), "quiet");
	assert_int_equal(get_le64(info + 32), 0xe0000);
	assert_int_equal(get_le32(info + 48), 3);
	map = boot_env_guest(env, get_le64(info + 40), 3 * 24);
	assert_int_equal(get_le64(map + 48), 0x100000);
	assert_int_equal(get_le64(map + 56), BOOT_ENV_RAM - 0x100000);
	assert_int_equal(get_le32(map + 64), 1);
	close(initrd.fd);
}

static void test_pvh_entry_must_be_loaded(void **state)
{
	struct boot_env *env = *state;
	const uint64_t bad[] = {0, LOAD - 1, LOAD + 0x3000, UINT64_MAX};

	make_elf64();
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		put_note(8, bad[i]);
		refresh(env);
		boot_env_refused(env, "lies in no segment");
	}
	/* A 4-byte descriptor: the upper half is not the entry's. */
	put_note(4, 0xffffffff00000000 | (LOAD + 4));
	refresh(env);
	assert_int_equal(boot_env_load(env), 0);
	assert_int_equal(env->cpu.rip, LOAD + 4);
}

static void test_notes_that_lie(void **state)
{
	struct boot_env *env = *state;

	make_elf64();
	put_note(8, LOAD);
	put_le32(f.bytes + NOTE_AT, UINT32_MAX); /* name */
	refresh(env);
	boot_env_refused(env, "neither a PVH entry note nor a Multiboot header");
	put_note(UINT32_MAX, LOAD);
	refresh(env);
	boot_env_refused(env, "neither a PVH");
	env->req.protocol = BOOT_PVH;
	boot_env_refused(env, "no PVH entry");
	f.e64.p[1].p_filesz = 1ULL << 40;
	refresh(env);
	boot_env_refused(env, "program header 1");
}

static void test_headers_that_lie(void **state)
{
	struct boot_env *env = *state;

	make_elf64();
	put_note(8, LOAD);
	f.e64.p[0].p_filesz = TEXT_LEN + 1;
	refresh(env);
	boot_env_refused(env, "program header 0: 0x101 bytes at 0x400 end beyond the file's 1280");
	f.e64.p[0].p_filesz = 0x10;
	f.e64.p[0].p_offset = UINT64_MAX - 8;
	refresh(env);
	boot_env_refused(env, "end beyond the file");
	f.e64.p[0].p_offset = TEXT_AT;
	f.e64.p[0].p_memsz = 0xf;
	refresh(env);
	boot_env_refused(env, "only 0xf in memory");
	f.e64.p[0].p_memsz = UINT64_MAX;
	refresh(env);
	boot_env_refused(env, "needs 0xffffffffffffffff bytes of guest RAM");
	f.e64.p[0].p_memsz = 0x1000;
	f.e64.p[1] = f.e64.p[0];
	env->req.protocol = BOOT_PVH;
	refresh(env);
	boot_env_refused(env, "overlaps another part");
}

static void test_tables_that_lie(void **state)
{
	struct boot_env *env = *state;

	make_elf64();
	f.e64.h.e_phnum = 0xffff;
	refresh(env);
	boot_env_refused(env, "65535 program headers, 1 to 64");
	f.e64.h.e_phnum = 64;
	refresh(env);
	boot_env_refused(env, "lie beyond the file");
	f.e64.h.e_phnum = 2;
	f.e64.h.e_phoff = UINT64_MAX - 1;
	refresh(env);
	boot_env_refused(env, "lie beyond the file");
	f.e64.h.e_phentsize = 1;
	refresh(env);
	boot_env_refused(env, "program headers of 1 bytes each");
	f.e64.h.e_machine = EM_ARM;
	refresh(env);
	boot_env_refused(env, "ELF machine 40");
	f.e64.h.e_ident[EI_CLASS] = 9;
	refresh(env);
	boot_env_refused(env, "ELF class 9");
	boot_env_kernel(env, f.bytes, 20);
	boot_env_refused(env, "ELF class 9");
	f.e64.h.e_ident[EI_CLASS] = ELFCLASS64;
	boot_env_kernel(env, f.bytes, 60);
	boot_env_refused(env, "ends within the ELF header");
}

static void test_low_memory_is_ours(void **state)
{
	struct boot_env *env = *state;

	make_elf64();
	put_note(8, LOAD);
	f.e64.p[0].p_paddr = 0x1000;
	refresh(env);
	boot_env_refused(env, "guest RAM at 0x1000");
}

/* RAM there is, but a kernel is entered with the first 4 GiB mapped. */
static void test_high_memory_is_out_of_reach(void **state)
{
	const struct mem_slot_request high = {
		.gpa = 4 * GIB, .size = 4 * MIB, .page_size = 4 * KIB, .name = "high-ram"};
	struct boot_env *env = *state;

	assert_int_equal(guest_memory_add_slot(env->gm, &high, env->why, sizeof(env->why)), 0);
	make_elf64();
	put_note(8, LOAD);
	f.e64.p[0].p_paddr = 4 * GIB;
	refresh(env);
	boot_env_refused(env, "guest RAM at 0x100000000");
}

static void test_multiboot_elf(void **state)
{
	struct boot_env *env = *state;
	struct boot_file modules[2] = {
		{.fd = boot_env_file("first", 5), .name = "m1", .cmdline = "one"},
		{.fd = boot_env_file("second", 6), .name = "m2"},
	};
	const uint8_t *info, *mods, *map;

	make_elf32();
	put_multiboot(3);
	refresh(env);
	env->req.cmdline = "a b";
	env->req.modules = modules;
	env->req.module_count = 2;
	assert_int_equal(boot_env_load(env), 0);
	check_protected_mode(&env->cpu);
	assert_int_equal(env->cpu.rax, 0x2badb002);
	assert_int_equal(env->cpu.rip, LOAD + 0x20);

	info = boot_env_guest(env, env->cpu.rbx, 72);
	assert_int_equal(get_le32(info), 0x24d);
	assert_int_equal(get_le32(info + 4), 639);
	assert_int_equal(get_le32(info + 8), BOOT_ENV_RAM / 1024 - 1024);
	assert_string_equal(boot_env_guest(env, get_le32(info + 16), 4), "a b");
	assert_int_equal(get_le32(info + 20), 2);
	mods = boot_env_guest(env, get_le32(info + 24), 32);
	assert_memory_equal(boot_env_guest(env, get_le32(mods), 5), "first", 5);
	assert_int_equal(get_le32(mods + 4) - get_le32(mods), 5);
	assert_int_equal(get_le32(mods) % 4096, 0);
	assert_string_equal(boot_env_guest(env, get_le32(mods + 8), 4), "one");
	assert_memory_equal(boot_env_guest(env, get_le32(mods + 16), 6), "second", 6);
	assert_string_equal(boot_env_guest(env, get_le32(mods + 24), 1), "");
	assert_int_equal(get_le32(info + 44), 3 * 24);
	map = boot_env_guest(env, get_le32(info + 48), 3 * 24);
	assert_int_equal(get_le32(map), 20);
	assert_int_equal(get_le64(map + 4), 0);
	assert_int_equal(get_le64(map + 12), 0x9fc00);
	assert_int_equal(get_le32(map + 20), 1);
	assert_string_equal(boot_env_guest(env, get_le32(info + 64), 4), "vmm");
	close(modules[0].fd);
	close(modules[1].fd);
}

/* A kernel linked high has a virtual entry; paging is off when it is entered. */
static void test_multiboot_entry_is_physical(void **state)
{
	struct boot_env *env = *state;

	make_elf64();
	put_multiboot(0);
	refresh(env);
	assert_int_equal(boot_env_load(env), 0);
	assert_int_equal(env->cpu.rip, LOAD + 0x10);
	f.e64.h.e_entry = 0x1234;
	refresh(env);
	boot_env_refused(env, "ELF entry lies in no segment");
}

static void make_flat(uint32_t load, uint32_t load_end, uint32_t bss_end, uint32_t entry)
{
	memset(&f, 0xf4, sizeof(f));
	put_multiboot(0x10003);
	put_le32(f.bytes + TEXT_AT + 12, LOAD);
	put_le32(f.bytes + TEXT_AT + 16, load);
	put_le32(f.bytes + TEXT_AT + 20, load_end);
	put_le32(f.bytes + TEXT_AT + 24, bss_end);
	put_le32(f.bytes + TEXT_AT + 28, entry);
}

static void test_multiboot_flat(void **state)
{
	struct boot_env *env = *state;

	make_flat(LOAD - 0x100, 0, LOAD + 0x1000, LOAD + 0x30);
	refresh(env);
	memset(guest_memory_ptr(env->gm, LOAD, 0x1000), 0xff, 0x1000);
	assert_int_equal(boot_env_load(env), 0);
	assert_int_equal(env->cpu.rip, LOAD + 0x30);
	assert_memory_equal(boot_env_guest(env, LOAD - 0x100, TEXT_LEN + 0x100),
			    f.bytes + TEXT_AT - 0x100, TEXT_LEN + 0x100);
	assert_int_equal(*boot_env_guest(env, LOAD + TEXT_LEN, 1), 0);
	assert_int_equal(*boot_env_guest(env, LOAD + 0xfff, 1), 0);
	assert_int_equal(*boot_env_guest(env, LOAD + 0x1000, 1), 0);
}

static void test_multiboot_flat_that_lies(void **state)
{
	struct boot_env *env = *state;
	const uint32_t bad[][4] = {
		{LOAD + 1, 0, 0, LOAD + 1},		/* load above the header */
		{LOAD - TEXT_AT - 1, 0, 0, LOAD},	/* begins before the file */
		{0, 0, 0, 0x10},
		{LOAD, LOAD + TEXT_LEN + 1, 0, LOAD},	/* ends after the file */
		{LOAD, LOAD - 1, 0, LOAD},
		{LOAD, 0, LOAD + TEXT_LEN - 1, LOAD},	/* bss within the text */
		{LOAD, 0, 0, LOAD + TEXT_LEN},		/* entry */
		{LOAD, 0, 0, LOAD - 1},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		make_flat(bad[i][0], bad[i][1], bad[i][2], bad[i][3]);
		refresh(env);
		boot_env_refused(env, "kernel test: Multiboot ");
	}
	make_flat(LOAD, 0, 0xffffffff, LOAD);
	refresh(env);
	boot_env_refused(env, "guest RAM at 0x200000");
}

static void test_multiboot_demands(void **state)
{
	struct boot_env *env = *state;

	make_elf32();
	put_multiboot(7);
	refresh(env);
	boot_env_refused(env, "no display");
	put_multiboot(3);
	f.bytes[TEXT_AT + 8]++; /* checksum */
	refresh(env);
	boot_env_refused(env, "neither a PVH entry note nor a Multiboot header");
	env->req.protocol = BOOT_MULTIBOOT;
	boot_env_refused(env, "no Multiboot header in its first 8192 bytes");
}

static void test_modules_without_room(void **state)
{
	struct boot_env *env = *state;
	struct boot_file module = {.fd = boot_env_file("x", 1), .name = "huge"};

	assert_int_equal(ftruncate(module.fd, BOOT_ENV_RAM), 0);
	make_elf32();
	put_multiboot(3);
	refresh(env);
	env->req.modules = &module;
	env->req.module_count = 1;
	boot_env_refused(env, "huge: no room for its 33554432 bytes");
	assert_int_equal(ftruncate(module.fd, 0), 0);
	boot_env_refused(env, "huge: empty");
	env->req.module_count = BOOT_MAX_MODULES + 1;
	boot_env_refused(env, "33 modules, at most 32");
	close(module.fd);
}

static void test_not_a_file(void **state)
{
	struct boot_env *env = *state;
	int p[2];

	assert_int_equal(pipe(p), 0);
	env->req.kernel.fd = p[0];
	boot_env_refused(env, "not a regular file");
	close(p[1]);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, boot_env_setup, boot_env_teardown)
	const struct CMUnitTest tests[] = {
		T(test_pvh),
		T(test_pvh_entry_must_be_loaded),
		T(test_notes_that_lie),
		T(test_headers_that_lie),
		T(test_tables_that_lie),
		T(test_low_memory_is_ours),
		T(test_high_memory_is_out_of_reach),
		T(test_multiboot_elf),
		T(test_multiboot_entry_is_physical),
		T(test_multiboot_flat),
		T(test_multiboot_flat_that_lies),
		T(test_multiboot_demands),
		T(test_modules_without_room),
		T(test_not_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
