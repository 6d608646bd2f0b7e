#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/io_bus.h"

struct probe {
	struct io_range range;
	uint64_t offset, value;
	unsigned int size;
	int reads, writes;
	pthread_mutex_t lock;
	bool was_locked;
	struct io_bus *bus; /* removes itself when accessed */
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct probe *p = opaque;

	p->offset = offset;
	p->size = size;
	p->reads++;
	p->was_locked = pthread_mutex_trylock(&p->lock) == EBUSY;
	return 0x1122334455667788ULL;
}

static void probe_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct probe *p = opaque;

	p->offset = offset;
	p->size = size;
	p->value = value;
	p->writes++;
	if (p->bus)
		io_bus_remove(p->bus, &p->range);
}

static const struct io_ops probe_ops = { .read = probe_read, .write = probe_write };

static void probe_init(struct probe *p, uint64_t base, uint64_t size)
{
	*p = (struct probe){
		.range = { .name = "probe", .base = base, .size = size, .ops = &probe_ops,
			   .opaque = p },
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	p->range.lock = &p->lock;
}

static int setup(void **state)
{
	*state = io_bus_create("test");
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	io_bus_destroy(*state);
	return 0;
}

static void test_an_access_reaches_its_range_under_its_lock(void **state)
{
	struct io_bus *bus = *state;
	struct probe a, b;
	uint64_t v;

	probe_init(&a, 0x100, 8);
	probe_init(&b, 0x108, 8);
	assert_int_equal(io_bus_add(bus, &b.range), 0);
	assert_int_equal(io_bus_add(bus, &a.range), 0);
	assert_true(io_bus_read(bus, 0x10a, 2, &v));
	assert_int_equal(v, 0x7788);
	assert_int_equal(b.offset, 2);
	assert_int_equal(b.size, 2);
	assert_true(b.was_locked);
	assert_int_equal(a.reads, 0);
	assert_true(io_bus_write(bus, 0x100, 4, 0xffffffff12345678ULL));
	assert_int_equal(a.value, 0x12345678);
	/* The lock was let go. */
	assert_int_equal(pthread_mutex_trylock(&a.lock), 0);
	pthread_mutex_unlock(&a.lock);
}

static void test_unclaimed_reads_as_ones_and_counts(void **state)
{
	struct io_bus *bus = *state;
	struct probe a;
	uint64_t v = 0;

	probe_init(&a, 0x100, 4);
	assert_int_equal(io_bus_add(bus, &a.range), 0);
	assert_false(io_bus_read(bus, 0xff, 1, &v));
	assert_int_equal(v, 0xff);
	assert_false(io_bus_read(bus, 0x104, 8, &v));
	assert_true(v == UINT64_MAX);
	/* Past the end, and across the beginning. */
	assert_false(io_bus_read(bus, 0x102, 4, &v));
	assert_int_equal(v, 0xffffffff);
	assert_false(io_bus_write(bus, 0xfe, 4, 1));
	assert_int_equal(a.reads + a.writes, 0);
	assert_int_equal(io_bus_unclaimed(bus), 4);
}

static void test_overlaps_empties_and_wraps_are_refused(void **state)
{
	struct io_bus *bus = *state;
	struct probe a, b;

	probe_init(&a, 0x1000, 0x100);
	assert_int_equal(io_bus_add(bus, &a.range), 0);
	probe_init(&b, 0x10ff, 1);
	assert_int_equal(io_bus_add(bus, &b.range), -EBUSY);
	probe_init(&b, 0xf00, 0x101);
	assert_int_equal(io_bus_add(bus, &b.range), -EBUSY);
	probe_init(&b, 0, UINT64_MAX);
	assert_int_equal(io_bus_add(bus, &b.range), -EBUSY);
	probe_init(&b, 0x2000, 0);
	assert_int_equal(io_bus_add(bus, &b.range), -EINVAL);
	probe_init(&b, UINT64_MAX, 2);
	assert_int_equal(io_bus_add(bus, &b.range), -EINVAL);
	probe_init(&b, UINT64_MAX, 1);
	assert_int_equal(io_bus_add(bus, &b.range), 0);
	io_bus_remove(bus, &a.range);
	io_bus_remove(bus, &a.range);
	probe_init(&a, 0x10ff, 1);
	assert_int_equal(io_bus_add(bus, &a.range), 0);
}

static void test_many_ranges_in_any_order(void **state)
{
	struct io_bus *bus = *state;
	static struct probe p[100];
	uint64_t v;

	for (unsigned int i = 0; i < 100; i++) {
		unsigned int at = i * 37 % 100;

		probe_init(&p[at], 0x1000 + at * 16, 8);
		assert_int_equal(io_bus_add(bus, &p[at].range), 0);
	}
	for (unsigned int i = 0; i < 100; i++) {
		assert_true(io_bus_read(bus, 0x1000 + i * 16 + 7, 1, &v));
		assert_false(io_bus_read(bus, 0x1000 + i * 16 + 8, 1, &v));
		assert_int_equal(p[i].reads, 1);
	}
	for (unsigned int i = 0; i < 100; i += 2)
		io_bus_remove(bus, &p[i].range);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(io_bus_read(bus, 0x1000 + i * 16, 1, &v), i % 2);
}

/* A BAR is moved from within an access to it. */
static void test_a_range_may_leave_while_it_is_accessed(void **state)
{
	struct io_bus *bus = *state;
	struct probe a;
	uint64_t v;

	probe_init(&a, 0x100, 4);
	a.bus = bus;
	assert_int_equal(io_bus_add(bus, &a.range), 0);
	assert_true(io_bus_write(bus, 0x100, 4, 0));
	assert_false(io_bus_read(bus, 0x100, 4, &v));
}

struct mover {
	struct io_bus *bus;
	struct probe *probe;
	int failures;
};

/* A guest that moves a BAR to and fro. */
static void *move(void *opaque)
{
	struct mover *m = opaque;

	for (unsigned int i = 0; i < 5000; i++) {
		io_bus_remove(m->bus, &m->probe->range);
		m->probe->range.base = i % 2 ? 0x1000 : 0x2000;
		m->failures += io_bus_add(m->bus, &m->probe->range) != 0;
	}
	return NULL;
}

static void test_ranges_move_while_others_access(void **state)
{
	struct io_bus *bus = *state;
	struct probe still, moving;
	struct mover m = { .bus = bus, .probe = &moving };
	pthread_t thread;
	uint64_t v;

	probe_init(&still, 0x1800, 8);
	probe_init(&moving, 0x1000, 8);
	assert_int_equal(io_bus_add(bus, &still.range), 0);
	assert_int_equal(io_bus_add(bus, &moving.range), 0);
	assert_int_equal(pthread_create(&thread, NULL, move, &m), 0);
	for (unsigned int i = 0; i < 5000; i++) {
		assert_true(io_bus_read(bus, 0x1800, 1, &v));
		if (io_bus_read(bus, 0x1004, 1, &v) || io_bus_read(bus, 0x2004, 1, &v))
			assert_int_equal(moving.offset, 4);
	}
	pthread_join(thread, NULL);
	assert_int_equal(m.failures, 0);
	assert_int_equal(still.reads, 5000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_an_access_reaches_its_range_under_its_lock),
		T(test_unclaimed_reads_as_ones_and_counts),
		T(test_overlaps_empties_and_wraps_are_refused),
		T(test_many_ranges_in_any_order),
		T(test_a_range_may_leave_while_it_is_accessed),
		T(test_ranges_move_while_others_access),
	};

	return cmocka_run_group_tests_name("io_bus", tests, NULL, NULL);
}
