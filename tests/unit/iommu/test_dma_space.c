#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "iommu/dma_space.h"

struct fixture {
	struct guest_memory *gm;
	struct dma_space *space;
	struct dma *dma;
};

static void add(struct guest_memory *gm, gpa_t gpa, uint64_t size)
{
	struct mem_slot_request req = { .gpa = gpa, .size = size, .page_size = 4 * KIB };
	char why[200];

	assert_int_equal(guest_memory_add_slot(gm, &req, why, sizeof(why)), 0);
}

static int setup(void **state)
{
	static struct fixture f;

	f.gm = guest_memory_create();
	assert_non_null(f.gm);
	add(f.gm, 0, MIB);
	add(f.gm, MIB, MIB);
	assert_int_equal(dma_space_create_identity(f.gm, "dev0", &f.space), 0);
	f.dma = dma_space_dma(f.space);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dma_space_destroy(f->space);
	guest_memory_destroy(f->gm);
	return 0;
}

static const char *wanted;
static uint64_t found;

static void pick(void *opaque, const char *name, uint64_t value)
{
	if (!strcmp(name, wanted))
		found = value;
}

static uint64_t counter(struct fixture *f, const char *name)
{
	wanted = name;
	found = UINT64_MAX;
	dma_space_counters(f->space, pick, NULL);
	return found;
}

static void test_one_lookup_serves_a_slot(void **state)
{
	struct fixture *f = *state;
	struct dma_window window = {0};
	uint64_t len = 100;

	assert_ptr_equal(dma_translate(f->dma, &window, 0x1000, &len, DMA_READ),
			 guest_memory_ptr(f->gm, 0x1000, 1));
	assert_int_equal(len, 100);
	len = 100;
	assert_non_null(dma_translate(f->dma, &window, 0x80000, &len, DMA_WRITE));
	assert_int_equal(counter(f, "dma_lookups"), 1);
	/* Clipped at the end of the slot. */
	len = 100;
	assert_non_null(dma_translate(f->dma, &window, MIB - 1, &len, DMA_READ));
	assert_int_equal(len, 1);
	assert_null(dma_translate_all(f->dma, &window, MIB - 1, 2, DMA_READ));
}

static void test_copies_cross_slots_and_fault_outside_ram(void **state)
{
	struct fixture *f = *state;
	uint8_t out[16] = "across the edge", in[16];
	uint8_t *end;

	assert_int_equal(dma_write(f->dma, MIB - 8, out, 16), 0);
	assert_int_equal(dma_read(f->dma, MIB - 8, in, 16), 0);
	assert_memory_equal(in, out, 16);
	assert_int_equal(dma_read(f->dma, 4 * GIB, in, 1), -EFAULT);
	assert_int_equal(dma_write(f->dma, UINT64_MAX, out, 2), -EFAULT);
	/* As on a bus, what lies before the hole is written. */
	assert_int_equal(dma_write(f->dma, 2 * MIB - 8, out, 16), -EFAULT);
	end = guest_memory_ptr(f->gm, 2 * MIB - 8, 8);
	assert_memory_equal(end, out, 8);
	assert_int_equal(counter(f, "dma_faults"), 3);
}

static void test_logging_follows_guest_memory(void **state)
{
	struct fixture *f = *state;
	uint64_t bits[4];

	assert_int_equal(dma_write(f->dma, 0x3000, "x", 1), 0);
	assert_int_equal(counter(f, "dma_dirtied"), 0);
	assert_int_equal(guest_memory_log_start(f->gm), 0);
	assert_int_equal(dma_write(f->dma, 0x5000, "x", 1), 0);
	assert_int_equal(counter(f, "dma_dirtied"), 1);
	assert_int_equal(guest_memory_log_fetch(f->gm, guest_memory_slot(f->gm, 0), bits, 4), 0);
	assert_int_equal(bits[0], 1u << 5);
	guest_memory_log_stop(f->gm);
	assert_int_equal(dma_write(f->dma, 0x5000, "x", 1), 0);
	assert_int_equal(counter(f, "dma_dirtied"), 1);
}

/* A listener that comes later and refuses a slot takes it away from those that had it. */
static int refuse(struct mem_listener *l, const struct mem_slot *slot)
{
	return slot->gpa == 8 * MIB ? -ENOMEM : 0;
}

static void forget(struct mem_listener *l, const struct mem_slot *slot)
{
}

static void test_a_slot_that_goes_makes_windows_stale(void **state)
{
	struct fixture *f = *state;
	struct mem_listener sour = { .name = "sour", .add = refuse, .remove = forget };
	struct mem_slot_request req = { .gpa = 8 * MIB, .size = MIB, .page_size = 4 * KIB };
	struct dma_window window = {0};
	uint64_t len = 1;
	char why[200];

	assert_non_null(dma_translate(f->dma, &window, 0, &len, DMA_READ));
	assert_int_equal(guest_memory_add_listener(f->gm, &sour), 0);
	assert_int_equal(guest_memory_add_slot(f->gm, &req, why, sizeof(why)), -ENOMEM);
	assert_int_not_equal(window.generation, f->dma->generation);
	assert_non_null(dma_translate(f->dma, &window, 0, &len, DMA_READ));
	assert_int_equal(window.generation, f->dma->generation);
	assert_null(dma_translate(f->dma, &window, 8 * MIB, &len, DMA_READ));
	guest_memory_remove_listener(f->gm, &sour);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_lookup_serves_a_slot),
		T(test_copies_cross_slots_and_fault_outside_ram),
		T(test_logging_follows_guest_memory),
		T(test_a_slot_that_goes_makes_windows_stale),
	};

	return cmocka_run_group_tests_name("dma_space", tests, NULL, NULL);
}
