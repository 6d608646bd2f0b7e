#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/exit_record.h"

static void the_record_is_json(void **state)
{
	struct exit_record record = {EXIT_GUEST_FAULT, 3, "vCPU 0: \"odd\", cut \xc3"};
	char path[] = "/tmp/exit-record-XXXXXX";
	int fd = mkstemp(path);
	struct config_file file = {.path = path, .fd = -1};
	json_t *json;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "old", 3), 3);
	close(fd);
	fd = exit_record_open(&file);
	assert_true(fd >= 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0); /* the old one is gone */
	assert_int_equal(exit_record_write(fd, "g1", &record), 0);
	close(fd);
	json = json_load_file(path, 0, NULL);
	unlink(path);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "id")), "g1");
	assert_string_equal(json_string_value(json_object_get(json, "reason")), "guest-fault");
	assert_string_equal(json_string_value(json_object_get(json, "message")),
			    "vCPU 0: \"odd\", cut ?");
	assert_int_equal(json_integer_value(json_object_get(json, "status")), 3);
	assert_int_equal(json_integer_value(json_object_get(json, "pid")), getpid());
	assert_int_equal(strlen(json_string_value(json_object_get(json, "time"))), 20);
	json_decref(json);
}

static void no_file_is_no_error(void **state)
{
	struct exit_record record = {EXIT_STOP, 0, ""};

	assert_int_equal(exit_record_write(-1, "g1", &record), 0);
}

static void statuses(void **state)
{
	assert_int_equal(exit_reason_status(EXIT_SHUTDOWN, 0), 0);
	assert_int_equal(exit_reason_status(EXIT_CONFIG, 0), 2);
	assert_int_equal(exit_reason_status(EXIT_DEBUG, 33), 33);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_record_is_json),
		cmocka_unit_test(no_file_is_no_error),
		cmocka_unit_test(statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
