/* Which process is meant, and which may be signalled. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "launch/children.h"

/* Runs until it is killed. */
static pid_t start_child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		for (;;)
			pause();
	}
	return pid;
}

static void test_start_time_whatever_the_name(void **state)
{
	static const char *const names[] = { "plain", ") R 1 2 3", "a b) (c", "((((((((" };
	uint64_t start_time = process_start_time(getpid());

	assert_true(start_time > 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
		assert_int_equal(process_start_time(getpid()), start_time);
	}
	assert_int_equal(process_start_time(0), 0);
	assert_int_equal(process_start_time(-1), 0);
}

static void test_only_our_programs_are_signalled(void **state)
{
	pid_t pid = start_child();
	uint64_t start_time = process_start_time(pid);
	const struct run_dirs dirs = { .vms = -1 };
	struct launch_error error;

	/* Another process of that pid. */
	assert_true(process_kill(&dirs, pid, start_time + 1, SIGKILL, &error) < 0);
	assert_int_equal(error.code, RPC_NOT_FOUND);
	/* The right one, but of a user that is not ours to give: the test's. */
	assert_true(process_kill(&dirs, pid, start_time, SIGKILL, &error) < 0);
	assert_int_equal(error.code, RPC_REFUSED);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(process_kill(&dirs, pid, start_time, SIGKILL, &error) < 0);
	assert_int_equal(error.code, RPC_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_time_whatever_the_name),
		cmocka_unit_test(test_only_our_programs_are_signalled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
