#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/guest_memory.h"

struct watcher {
	struct mem_listener listener;
	int trace[16]; /* id + 1 on add, -(id + 1) on remove */
	unsigned int n;
	int refuse; /* id that add refuses; -1: none */
	bool logging;
};

static int watch_add(struct mem_listener *l, const struct mem_slot *slot)
{
	struct watcher *w = container_of(l, struct watcher, listener);

	if ((int)slot->id == w->refuse)
		return -E2BIG;
	w->trace[w->n++] = (int)slot->id + 1;
	return 0;
}

static void watch_remove(struct mem_listener *l, const struct mem_slot *slot)
{
	struct watcher *w = container_of(l, struct watcher, listener);

	w->trace[w->n++] = -((int)slot->id + 1);
}

static void watch_log(struct mem_listener *l, bool on)
{
	container_of(l, struct watcher, listener)->logging = on;
}

static void watch_init(struct watcher *w)
{
	*w = (struct watcher){
		.listener = { .name = "watcher", .add = watch_add, .remove = watch_remove,
			      .log = watch_log },
		.refuse = -1,
	};
}

static int add(struct guest_memory *gm, gpa_t gpa, uint64_t size)
{
	struct mem_slot_request req = { .gpa = gpa, .size = size, .page_size = 4 * KIB };
	char why[200] = "";

	return guest_memory_add_slot(gm, &req, why, sizeof(why));
}

static int setup(void **state)
{
	*state = guest_memory_create();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	guest_memory_destroy(*state);
	return 0;
}

static void test_slots_are_sealed_aligned_and_zero(void **state)
{
	struct guest_memory *gm = *state;
	const struct mem_slot *slot;

	assert_int_equal(add(gm, 0, 4 * MIB), 0);
	assert_int_equal(add(gm, 4 * GIB + 2 * MIB + 4 * KIB, 2 * MIB), 0);
	assert_int_equal(guest_memory_slot_count(gm), 2);
	assert_int_equal(guest_memory_total(gm), 6 * MIB);
	for (unsigned int i = 0; i < 2; i++) {
		slot = guest_memory_slot(gm, i);
		assert_int_equal(slot->id, i);
		assert_int_equal(((uintptr_t)slot->hva ^ slot->gpa) & (2 * MIB - 1), 0);
		assert_int_equal(fcntl(slot->fd, F_GET_SEALS),
				 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
		assert_int_not_equal(ftruncate(slot->fd, 0), 0);
		assert_int_equal(slot->hva[0] | slot->hva[slot->size - 1], 0);
	}
	assert_null(guest_memory_slot(gm, 2));
}

static void test_bad_requests_are_refused_with_words(void **state)
{
	struct guest_memory *gm = *state;
	struct mem_slot_request req = { .gpa = 0, .size = 4 * KIB, .page_size = 64 * KIB };
	char why[200] = "";

	assert_int_equal(guest_memory_add_slot(gm, &req, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "2 MiB"));
	assert_int_equal(add(gm, 0, 0), -EINVAL);
	assert_int_equal(add(gm, 1, 4 * KIB), -EINVAL);
	assert_int_equal(add(gm, 0, 4 * KIB + 1), -EINVAL);
	assert_int_equal(add(gm, UINT64_MAX - 4 * KIB + 1, 8 * KIB), -EINVAL);
	assert_int_equal(add(gm, MIB, MIB), 0);
	assert_int_equal(add(gm, 2 * MIB - 4 * KIB, MIB), -EEXIST);
	assert_int_equal(guest_memory_slot_count(gm), 1);
}

/* A terabyte of huge pages is more than any test machine has free. */
static void test_missing_huge_pages_are_explained(void **state)
{
	struct guest_memory *gm = *state;
	struct mem_slot_request req = { .size = 1024 * GIB, .page_size = 2 * MIB };
	char why[300] = "";

	assert_true(guest_memory_add_slot(gm, &req, why, sizeof(why)) < 0);
	/* Either this host has none of that size, or: need N, have M, do this. */
	if (!strstr(why, "none of that size")) {
		assert_non_null(strstr(why, "need 524288"));
		assert_non_null(strstr(why, "have "));
		assert_non_null(strstr(why, "nr_hugepages"));
	}
}

static void test_copies_cross_adjoining_slots_or_do_nothing(void **state)
{
	struct guest_memory *gm = *state;
	uint8_t out[64], in[64] = {0};

	assert_int_equal(add(gm, 0, MIB), 0);
	assert_int_equal(add(gm, MIB, MIB), 0);
	for (unsigned int i = 0; i < 64; i++)
		out[i] = (uint8_t)(i + 1);
	assert_int_equal(guest_memory_write(gm, MIB - 32, out, 64), 0);
	assert_int_equal(guest_memory_read(gm, MIB - 32, in, 64), 0);
	assert_memory_equal(in, out, 64);
	assert_null(guest_memory_ptr(gm, MIB - 32, 64));
	assert_non_null(guest_memory_ptr(gm, MIB - 64, 64));
	/* Half of it lies outside: nothing is written. */
	assert_int_equal(guest_memory_write(gm, 2 * MIB - 32, out, 64), -EFAULT);
	assert_int_equal(*(uint8_t *)guest_memory_ptr(gm, 2 * MIB - 32, 1), 0);
	assert_int_equal(guest_memory_read(gm, UINT64_MAX - 8, in, 64), -EFAULT);
	assert_int_equal(guest_memory_read(gm, 5 * MIB, in, 0), 0);
	assert_null(guest_memory_find(gm, 2 * MIB, 1));
	assert_null(guest_memory_find(gm, 0, UINT64_MAX));
}

static void test_listeners_hear_all_slots_in_order(void **state)
{
	struct guest_memory *gm = *state;
	struct watcher early, late;
	static const int early_trace[] = { 1, 2, -2, -1 }, late_trace[] = { 1, 2, -2, -1 };

	watch_init(&early);
	watch_init(&late);
	assert_int_equal(guest_memory_add_listener(gm, &early.listener), 0);
	assert_int_equal(add(gm, 0, MIB), 0);
	assert_int_equal(add(gm, 4 * MIB, MIB), 0);
	assert_int_equal(guest_memory_add_listener(gm, &late.listener), 0);
	assert_int_equal(late.n, 2);
	guest_memory_remove_listener(gm, &early.listener);
	guest_memory_remove_listener(gm, &late.listener);
	assert_memory_equal(early.trace, early_trace, sizeof(early_trace));
	assert_memory_equal(late.trace, late_trace, sizeof(late_trace));
}

static void test_a_refusal_undoes_the_slot_for_the_others(void **state)
{
	struct guest_memory *gm = *state;
	static struct watcher first, second, third; /* teardown ends them */
	static const int undone[] = { 1, 2, -2 };

	watch_init(&first);
	watch_init(&second);
	watch_init(&third);
	second.refuse = 1;
	assert_int_equal(guest_memory_add_listener(gm, &first.listener), 0);
	assert_int_equal(guest_memory_add_listener(gm, &second.listener), 0);
	assert_int_equal(add(gm, 0, MIB), 0);
	assert_int_equal(add(gm, MIB, MIB), -E2BIG);
	assert_int_equal(guest_memory_slot_count(gm), 1);
	assert_int_equal(first.n, 3);
	assert_memory_equal(first.trace, undone, sizeof(undone));
	assert_int_equal(second.n, 1);
	/* The same when a listener comes late and refuses. */
	second.refuse = -1;
	assert_int_equal(add(gm, MIB, MIB), 0);
	third.refuse = 1;
	assert_int_equal(guest_memory_add_listener(gm, &third.listener), -E2BIG);
	assert_int_equal(third.n, 2);
	assert_int_equal(third.trace[1], -1);
}

static void test_the_dirty_log_sees_each_write_once(void **state)
{
	struct guest_memory *gm = *state;
	uint64_t bits[4], sum = 0;
	struct watcher w;
	uint8_t data[8192] = {0};

	watch_init(&w);
	assert_int_equal(add(gm, 0, MIB), 0);	/* 256 pages: 4 words */
	assert_int_equal(add(gm, MIB, MIB), 0);
	assert_int_equal(guest_memory_add_listener(gm, &w.listener), 0);
	assert_int_equal(guest_memory_write(gm, 0, data, 1), 0);
	assert_int_equal(guest_memory_log_start(gm), 0);
	assert_true(w.logging);
	assert_int_equal(guest_memory_log_start(gm), -EALREADY);
	/* The last page of one slot and the first of the next. */
	assert_int_equal(guest_memory_write(gm, MIB - 1, data, 2), 0);
	/* Three pages for two pages' worth of bytes. */
	guest_memory_dirtied(gm, 0x5fff, 4098);
	guest_memory_dirtied(gm, 64 * MIB, 4096); /* no RAM there */
	assert_int_equal(guest_memory_log_fetch(gm, guest_memory_slot(gm, 0), bits, 3), -EINVAL);
	assert_int_equal(guest_memory_log_fetch(gm, guest_memory_slot(gm, 0), bits, 4), 0);
	assert_true(bits[0] == 0xe0);
	assert_true(bits[3] == 1ULL << 63);
	assert_int_equal(bits[1] | bits[2], 0);
	assert_int_equal(guest_memory_log_fetch(gm, guest_memory_slot(gm, 1), bits, 4), 0);
	assert_int_equal(bits[0], 1);
	assert_int_equal(guest_memory_log_fetch(gm, guest_memory_slot(gm, 0), bits, 4), 0);
	for (unsigned int i = 0; i < 4; i++)
		sum |= bits[i];
	assert_int_equal(sum, 0);
	/* A slot that comes later is logged too. */
	assert_int_equal(add(gm, 2 * MIB, MIB), 0);
	assert_int_equal(guest_memory_write(gm, 2 * MIB, data, 1), 0);
	assert_int_equal(guest_memory_log_fetch(gm, guest_memory_slot(gm, 2), bits, 4), 0);
	assert_int_equal(bits[0], 1);
	guest_memory_log_stop(gm);
	assert_false(w.logging);
	guest_memory_dirtied(gm, 0, 4096);
	assert_int_equal(guest_memory_log_start(gm), 0);
	assert_int_equal(guest_memory_log_fetch(gm, guest_memory_slot(gm, 0), bits, 4), 0);
	assert_int_equal(bits[0], 0);
	guest_memory_remove_listener(gm, &w.listener);
}

static void test_prefault_and_slot_limit(void **state)
{
	struct guest_memory *gm = *state;
	struct mem_slot_request req = { .size = 64 * KIB, .page_size = 4 * KIB, .prefault = true };
	unsigned char resident[16] = {0};
	char why[200];

	assert_int_equal(guest_memory_add_slot(gm, &req, why, sizeof(why)), 0);
	assert_int_equal(mincore(guest_memory_ptr(gm, 0, 64 * KIB), 64 * KIB, resident), 0);
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(resident[i] & 1, 1);
	for (unsigned int i = 1; i < GUEST_MEMORY_MAX_SLOTS; i++)
		assert_int_equal(add(gm, i * MIB, 4 * KIB), 0);
	assert_int_equal(add(gm, GIB, 4 * KIB), -ENOSPC);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_slots_are_sealed_aligned_and_zero),
		T(test_bad_requests_are_refused_with_words),
		T(test_missing_huge_pages_are_explained),
		T(test_copies_cross_adjoining_slots_or_do_nothing),
		T(test_listeners_hear_all_slots_in_order),
		T(test_a_refusal_undoes_the_slot_for_the_others),
		T(test_the_dirty_log_sees_each_write_once),
		T(test_prefault_and_slot_limit),
	};

	return cmocka_run_group_tests_name("guest_memory", tests, NULL, NULL);
}
