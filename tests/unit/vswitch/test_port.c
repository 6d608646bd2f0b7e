#include <errno.h>

#include "tests/unit/vswitch/unit.h"
#include "vswitch/port.h"

static const struct port_ops no_ops = {.type = "none"};

static void add(struct port_table *table, struct port *port, const char *id)
{
	assert_int_equal(port_init(port, table, &no_ops, id, 1500, 2), 0);
	assert_int_equal(port_table_add(table, port), 0);
}

static void come_and_go(void **state)
{
	static struct port_table table;
	struct port a, b, c;
	const struct port_set *set;

	(void)state;
	port_table_init(&table);
	assert_int_equal(atomic_load(&table.set)->count, 0);
	add(&table, &a, "a");
	add(&table, &b, "b");
	assert_int_equal(a.max_frame, 1518);
	assert_ptr_equal(port_table_find(&table, "b"), &b);
	assert_null(port_table_find(&table, "c"));
	set = atomic_load(&table.set);
	assert_int_equal(set->count, 2);
	port_table_remove(&table, &a);
	/* Who still reads the old set finds it unchanged. */
	assert_int_equal(set->count, 2);
	assert_ptr_equal(set->ports[0], &a);
	assert_int_equal(atomic_load(&table.set)->count, 1);
	assert_null(port_table_get(&table, a.index));
	assert_null(port_table_get(&table, UINT16_MAX));
	/* The index is given again, but not the generation. */
	add(&table, &c, "c");
	assert_int_equal(c.index, a.index);
	assert_int_not_equal(c.generation, a.generation);
	port_table_remove(&table, &a); /* not there: nothing happens */
	assert_ptr_equal(port_table_find(&table, "c"), &c);
	port_fini(&a);
	port_fini(&b);
	port_fini(&c);
}

static void counters_outlive_the_port(void **state)
{
	static struct port_table table;
	struct stats stats;
	struct port port;

	(void)state;
	port_table_init(&table);
	assert_int_equal(port_init(&port, &table, &no_ops, "x", 1500, 2), 0);
	stats_add(&port.cells[0].rx_frames, 3);
	stats_add(&port.cells[1].rx_frames, 4);
	stats_drop(&port.cells[1], DROP_SAME_PORT, 7);
	port_stats(&port, &stats);
	assert_int_equal(stats.rx_frames, 7);
	port_fini(&port);
	assert_int_equal(table.retired.rx_frames, 7);
	assert_int_equal(stats_imbalance(&table.retired), 0);
}

static void the_table_has_an_end(void **state)
{
	static struct port_table table;
	static struct port ports[PORT_MAX + 1];

	(void)state;
	port_table_init(&table);
	for (unsigned int i = 0; i < PORT_MAX; i++)
		add(&table, &ports[i], "p");
	assert_int_equal(port_init(&ports[PORT_MAX], &table, &no_ops, "p", 1500, 1), 0);
	assert_int_equal(port_table_add(&table, &ports[PORT_MAX]), -ENOSPC);
	assert_int_equal(atomic_load(&table.set)->count, PORT_MAX);
	for (unsigned int i = 0; i <= PORT_MAX; i++)
		port_fini(&ports[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(come_and_go),
		cmocka_unit_test(counters_outlive_the_port),
		cmocka_unit_test(the_table_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
