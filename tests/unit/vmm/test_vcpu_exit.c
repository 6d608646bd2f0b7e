#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "vmm/vcpu_exit.h"

struct access {
	bool write;
	uint64_t offset, value;
	unsigned int size;
};

struct env {
	struct io_bus *pio, *mmio;
	struct io_range port, memory;
	struct access seen[16];
	unsigned int count;
	union {
		struct kvm_run run;
		uint8_t page[8192];
	};
	enum vcpu_event event;
	char what[192];
};

static struct access *next(struct env *env)
{
	assert_true(env->count < ARRAY_SIZE(env->seen));
	return &env->seen[env->count++];
}

static uint64_t on_read(void *opaque, uint64_t offset, unsigned int size)
{
	*next(opaque) = (struct access){.offset = offset, .size = size};
	return 0x8877665544332211ULL >> (offset * 8);
}

static void on_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	*next(opaque) = (struct access){true, offset, value, size};
}

static const struct io_ops ops = {on_read, on_write};

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	assert_non_null(env);
	env->pio = io_bus_create("pio");
	env->mmio = io_bus_create("mmio");
	env->port = (struct io_range){"port", 0x100, 8, &ops, env, NULL};
	env->memory = (struct io_range){"memory", 0x1000, 8, &ops, env, NULL};
	assert_int_equal(io_bus_add(env->pio, &env->port), 0);
	assert_int_equal(io_bus_add(env->mmio, &env->memory), 0);
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;

	io_bus_remove(env->pio, &env->port);
	io_bus_remove(env->mmio, &env->memory);
	io_bus_destroy(env->pio);
	io_bus_destroy(env->mmio);
	free(env);
	return 0;
}

static bool handle(struct env *env)
{
	return vcpu_exit_handle(&env->run, env->pio, env->mmio, &env->event, env->what,
				sizeof(env->what));
}

static void port(struct env *env, uint8_t direction, uint8_t size, uint32_t count)
{
	env->run.exit_reason = KVM_EXIT_IO;
	env->run.io.direction = direction;
	env->run.io.port = 0x100;
	env->run.io.size = size;
	env->run.io.count = count;
	env->run.io.data_offset = 4096;
}

static void string_output_is_one_access_each(void **state)
{
	struct env *env = *state;

	port(env, KVM_EXIT_IO_OUT, 2, 3);
	memcpy(env->page + 4096, "\x01\x02\x03\x04\x05\x06", 6);
	assert_true(handle(env));
	assert_int_equal(env->count, 3);
	assert_int_equal(env->seen[0].value, 0x0201);
	assert_int_equal(env->seen[2].value, 0x0605);
	assert_int_equal(env->seen[2].offset, 0);
	assert_int_equal(env->seen[2].size, 2);
}

static void input_fills_its_bytes_only(void **state)
{
	struct env *env = *state;

	port(env, KVM_EXIT_IO_IN, 1, 1);
	memset(env->page + 4096, 0xee, 4);
	assert_true(handle(env));
	assert_int_equal(env->page[4096], 0x11);
	assert_int_equal(env->page[4097], 0xee);
}

static void unclaimed_ports_read_ones(void **state)
{
	struct env *env = *state;

	port(env, KVM_EXIT_IO_IN, 4, 1);
	env->run.io.port = 0x200;
	assert_true(handle(env));
	assert_int_equal(get_le32(env->page + 4096), 0xffffffff);
	assert_int_equal(env->count, 0);
}

static void memory(struct env *env, bool write, uint64_t addr, uint32_t len)
{
	env->run.exit_reason = KVM_EXIT_MMIO;
	env->run.mmio.phys_addr = addr;
	env->run.mmio.is_write = write;
	env->run.mmio.len = len;
}

static void memory_access_is_one(void **state)
{
	struct env *env = *state;

	memory(env, false, 0x1000, 8);
	assert_true(handle(env));
	assert_int_equal(env->count, 1);
	assert_int_equal(get_le64(env->run.mmio.data), 0x8877665544332211ULL);
}

static void odd_parts_go_by_bytes(void **state)
{
	struct env *env = *state;

	memory(env, true, 0x1001, 3);
	memcpy(env->run.mmio.data, "\xa\xb\xc", 3);
	assert_true(handle(env));
	assert_int_equal(env->count, 3);
	assert_int_equal(env->seen[2].offset, 3);
	assert_int_equal(env->seen[2].value, 0xc);
	memory(env, false, 0x1001, 3);
	assert_true(handle(env));
	assert_memory_equal(env->run.mmio.data, "\x22\x33\x44", 3);
}

static void endings_are_told_apart(void **state)
{
	struct env *env = *state;

	env->run.exit_reason = KVM_EXIT_SHUTDOWN;
	assert_false(handle(env));
	assert_int_equal(env->event, VCPU_TRIPLE_FAULT);
	env->run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
	env->run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	assert_false(handle(env));
	assert_int_equal(env->event, VCPU_GUEST_FAULT);
	assert_non_null(strstr(env->what, "emulate"));
	env->run.exit_reason = 12345;
	assert_false(handle(env));
	assert_non_null(strstr(env->what, "12345"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(string_output_is_one_access_each, setup, teardown),
		cmocka_unit_test_setup_teardown(input_fills_its_bytes_only, setup, teardown),
		cmocka_unit_test_setup_teardown(unclaimed_ports_read_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_access_is_one, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_parts_go_by_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(endings_are_told_apart, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
