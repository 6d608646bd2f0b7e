#include "boot_env.h"

#include <unistd.h>

#define SETUP	(2 * 512u) /* one setup sector after the boot sector */
#define CODE	4096u
#define LOAD	0x1000000u
#define MAX_CMD 64u

static uint8_t image[SETUP + CODE];

/* A bzImage of protocol 2.15, as far as a loader looks at it. */
static void make_image(struct boot_env *env)
{
	memset(image, 0, sizeof(image));
	image[0x1f1] = 1;
	put_le32(image + 0x1f4, CODE / 16);
	put_le16(image + 0x1fe, 0xaa55);
	image[0x201] = 0x6a;
	memcpy(image + 0x202, "HdrS", 4);
	put_le16(image + 0x206, 0x20f);
	image[0x211] = 1;
	put_le32(image + 0x22c, 0x7fffffff);
	put_le16(image + 0x236, 1);
	put_le32(image + 0x238, MAX_CMD);
	put_le64(image + 0x250, 0xdead); /* setup_data: ours to clear */
	put_le64(image + 0x258, LOAD);
	put_le32(image + 0x260, 2 * MIB);
	memset(image + SETUP, 0x90, CODE);
	boot_env_kernel(env, image, sizeof(image));
}

static void refresh(struct boot_env *env)
{
	boot_env_kernel(env, image, sizeof(image));
}

static void test_enters_64_bit_code(void **state)
{
	struct boot_env *env = *state;
	const uint8_t *p;

	make_image(env);
	env->req.cmdline = "console=ttyS0";
	env->req.rsdp = 0xe0000;
	assert_int_equal(boot_env_load(env), 0);
	assert_int_equal(env->cpu.rip, LOAD + 0x200);
	assert_int_equal(env->cpu.cs.selector, 0x10);
	assert_true(env->cpu.cs.long_mode);
	assert_int_equal(env->cpu.efer, 0x500);
	assert_memory_equal(boot_env_guest(env, LOAD, CODE), image + SETUP, CODE);

	p = boot_env_guest(env, env->cpu.rsi, 4096);
	assert_int_equal(p[0x210], 0xff);
	assert_memory_equal(p + 0x202, "HdrS", 4);
	assert_int_equal(get_le64(p + 0x70), 0xe0000);
	assert_int_equal(get_le64(p + 0x250), 0);
	assert_int_equal(get_le32(p + 0x218), 0);
	assert_string_equal(boot_env_guest(env, get_le32(p + 0x228), 14), "console=ttyS0");
}

static void test_memory_map(void **state)
{
	struct boot_env *env = *state;
	const struct boot_range ecam = {0xb0000000, 256 * MIB};
	const uint64_t want[][3] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x60400, 2},
		{0x100000, BOOT_ENV_RAM - 0x100000, 1},
		{0xb0000000, 256 * MIB, 2},
		{4 * GIB, MIB, 1},
	};
	const struct mem_slot_request high = {
		.gpa = 4 * GIB, .size = MIB, .page_size = 4 * KIB, .name = "high"};
	const uint8_t *p;

	make_image(env);
	env->req.reserved = &ecam;
	env->req.reserved_count = 1;
	assert_int_equal(guest_memory_add_slot(env->gm, &high, env->why, sizeof(env->why)), 0);
	assert_int_equal(boot_env_load(env), 0);
	p = boot_env_guest(env, env->cpu.rsi, 4096);
	assert_int_equal(p[0x1e8], ARRAY_SIZE(want));
	for (unsigned int i = 0; i < ARRAY_SIZE(want); i++) {
		assert_int_equal(get_le64(p + 0x2d0 + i * 20), want[i][0]);
		assert_int_equal(get_le64(p + 0x2d8 + i * 20), want[i][1]);
		assert_int_equal(get_le32(p + 0x2e0 + i * 20), want[i][2]);
	}
}

/* Walks the tables as the processor would. */
static gpa_t translate(struct boot_env *env, uint64_t va)
{
	uint64_t entry = env->cpu.cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		entry = get_le64(boot_env_guest(env, ALIGN_DOWN(entry, 4096) +
						(va >> shift & 511) * 8, 8));
		assert_int_equal(entry & 3, 3);
	}
	assert_int_equal(entry & 0x80, 0x80);
	return ALIGN_DOWN(entry, 2 * MIB) + (va & (2 * MIB - 1));
}

static void test_identity_mapping(void **state)
{
	struct boot_env *env = *state;
	const uint64_t addresses[] = {0, 0x2000, LOAD + 0x200, 0x7fffffff, 4 * GIB - 1};

	make_image(env);
	assert_int_equal(boot_env_load(env), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++)
		assert_int_equal(translate(env, addresses[i]), addresses[i]);
	/* The GDT says the same as the segment registers. */
	assert_int_equal(get_le64(boot_env_guest(env, env->cpu.gdt_base + 0x10, 8)),
			 0x00af9b000000ffff);
	assert_int_equal(get_le64(boot_env_guest(env, env->cpu.gdt_base + 0x18, 8)),
			 0x00cf93000000ffff);
	assert_int_equal(get_le64(boot_env_guest(env, env->cpu.gdt_base + 0x20, 8)),
			 0x00008b0000000067);
}

static void test_initrd_high_below_limit(void **state)
{
	struct boot_env *env = *state;
	uint8_t data[5000];
	struct boot_file initrd = {.name = "initrd"};
	const uint8_t *p;
	uint32_t at;

	memset(data, 0x5a, sizeof(data));
	initrd.fd = boot_env_file(data, sizeof(data));
	env->req.initrd = &initrd;
	make_image(env);
	assert_int_equal(boot_env_load(env), 0);
	p = boot_env_guest(env, env->cpu.rsi, 4096);
	at = get_le32(p + 0x218);
	assert_int_equal(at, BOOT_ENV_RAM - 8192);
	assert_int_equal(get_le32(p + 0x21c), sizeof(data));
	assert_memory_equal(boot_env_guest(env, at, sizeof(data)), data, sizeof(data));

	/* A limit within the kernel's own memory: below the kernel then. */
	put_le32(image + 0x22c, LOAD + 0x10000 - 1);
	refresh(env);
	assert_int_equal(boot_env_load(env), 0);
	p = boot_env_guest(env, env->cpu.rsi, 4096);
	assert_int_equal(get_le32(p + 0x218), LOAD - 8192);

	put_le32(image + 0x22c, 0x100fff);
	refresh(env);
	boot_env_refused(env, "no room for its 5000 bytes");
	close(initrd.fd);
}

static void test_command_line_limit(void **state)
{
	struct boot_env *env = *state;
	char line[MAX_CMD + 2];

	memset(line, 'x', sizeof(line));
	line[MAX_CMD] = '\0';
	env->req.cmdline = line;
	make_image(env);
	assert_int_equal(boot_env_load(env), 0);
	line[MAX_CMD] = 'x';
	line[MAX_CMD + 1] = '\0';
	boot_env_refused(env, "65 characters, at most 64");
}

static void test_refuses_what_lies(void **state)
{
	struct boot_env *env = *state;

	make_image(env);
	boot_env_kernel(env, image, sizeof(image) - 17);
	boot_env_refused(env, "its code ends at 0x1400 beyond the file's 5103 bytes");
	boot_env_kernel(env, image, SETUP);
	boot_env_refused(env, "beyond the file");
	boot_env_kernel(env, image, 0x210);
	boot_env_refused(env, "neither a bzImage");
	boot_env_kernel(env, image, 0);
	boot_env_refused(env, "only 0 bytes");
	env->req.protocol = BOOT_LINUX;
	boot_env_refused(env, "no Linux setup header");

	put_le32(image + 0x1f4, 0);
	refresh(env);
	boot_env_refused(env, "too few");
	put_le32(image + 0x1f4, UINT32_MAX);
	refresh(env);
	boot_env_refused(env, "beyond the file");
}

static void test_refuses_what_does_not_fit(void **state)
{
	struct boot_env *env = *state;
	const uint64_t bad[] = {0, 0xff000, BOOT_ENV_RAM - 4096, UINT64_MAX, UINT64_MAX - CODE,
				4 * GIB};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		make_image(env);
		put_le64(image + 0x258, bad[i]);
		refresh(env);
		boot_env_refused(env, "needs 0x200000 bytes of guest RAM");
	}
	make_image(env);
	put_le32(image + 0x260, UINT32_MAX);
	refresh(env);
	boot_env_refused(env, "needs 0xffffffff bytes");
}

static void test_refuses_other_kinds(void **state)
{
	struct boot_env *env = *state;
	const struct boot_file module = {.fd = -1, .name = "m"};

	make_image(env);
	put_le16(image + 0x206, 0x20b);
	refresh(env);
	boot_env_refused(env, "boot protocol 2.11, at least 2.12");
	make_image(env);
	put_le16(image + 0x236, 0);
	refresh(env);
	boot_env_refused(env, "no 64-bit entry");
	make_image(env);
	image[0x211] = 0;
	refresh(env);
	boot_env_refused(env, "zImage");
	make_image(env);
	env->req.modules = &module;
	env->req.module_count = 1;
	boot_env_refused(env, "modules are for PVH and Multiboot");
}

/* A header length that points past the header must not reach the rest of boot_params. */
static void test_header_length_is_clipped(void **state)
{
	struct boot_env *env = *state;
	const uint8_t *p;

	make_image(env);
	image[0x201] = 0xff;
	memset(image + 0x290, 0xee, 0x100);
	refresh(env);
	assert_int_equal(boot_env_load(env), 0);
	p = boot_env_guest(env, env->cpu.rsi, 4096);
	assert_int_equal(p[0x290], 0);
	assert_int_equal(get_le64(p + 0x2d0), 0);

	image[0x201] = 0;
	refresh(env);
	assert_int_equal(boot_env_load(env), 0);
	assert_int_equal(get_le64(p + 0x258), LOAD);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, boot_env_setup, boot_env_teardown)
	const struct CMUnitTest tests[] = {
		T(test_enters_64_bit_code),
		T(test_memory_map),
		T(test_identity_mapping),
		T(test_initrd_high_below_limit),
		T(test_command_line_limit),
		T(test_refuses_what_lies),
		T(test_refuses_what_does_not_fit),
		T(test_refuses_other_kinds),
		T(test_header_length_is_clipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
