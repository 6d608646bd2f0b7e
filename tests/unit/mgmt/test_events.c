#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "mgmt/events.h"

static void test_text(void **state)
{
	struct events *events = events_create();
	const char *text;

	assert_non_null(events);
	events_emit(events, "vm", json_pack("{s:s}", "vm", "line\nbreak"));
	text = events_text(events, 1);
	assert_non_null(text);
	/* The data is one line, whatever is in it. */
	assert_memory_equal(
		text, "id: 1\nevent: vm\ndata: {\"vm\":\"line\\nbreak\",\"time\":\"", 46);
	assert_string_equal(text + strlen(text) - 4, "\"}\n\n");
	assert_null(events_text(events, 0));
	assert_null(events_text(events, 2));
	events_destroy(events);
}

static void test_old_ones_are_forgotten(void **state)
{
	struct events *events = events_create();

	assert_int_equal(events_oldest(events), events_next(events));
	for (unsigned int i = 0; i < EVENTS_KEPT; i++)
		events_emit(events, "vm", json_object());
	assert_int_equal(events_oldest(events), 1);
	assert_non_null(events_text(events, 1));
	events_emit(events, "vm", json_object());
	assert_int_equal(events_oldest(events), 2);
	assert_null(events_text(events, 1));
	assert_non_null(events_text(events, 2));
	assert_non_null(events_text(events, EVENTS_KEPT + 1));
	events_destroy(events);
}

static void count(void *opaque)
{
	++*(int *)opaque;
}

static void test_listener(void **state)
{
	struct events *events = events_create();
	int calls = 0;

	events_listen(events, count, &calls);
	events_emit(events, "vm", json_object());
	events_emit(events, "vm", NULL); /* out of memory: nothing happens */
	events_listen(events, NULL, NULL);
	events_emit(events, "vm", json_object());
	assert_int_equal(calls, 1);
	assert_int_equal(events_next(events), 3);
	events_destroy(events);
}

static void test_time(void **state)
{
	char text[TIME_TEXT_SIZE];

	time_text(text);
	assert_int_equal(strlen(text), 24);
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[23], 'Z');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_old_ones_are_forgotten),
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
