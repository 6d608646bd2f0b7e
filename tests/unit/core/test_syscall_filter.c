#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/syscall_filter.h"

static const uint32_t fcntl_values[] = {F_GETFD, F_GETFL};
static const struct syscall_rule rules[] = {
	SYSCALL_ALLOW(exit),
	SYSCALL_ALLOW(exit_group),
	SYSCALL_ALLOW(getpid),
	SYSCALL_ALLOW(futex),
	SYSCALL_ALLOW_IF(fcntl, 1, fcntl_values),
};

/* How a child ends that does this behind the filter: its status, or minus its signal. */
static int outcome(void (*act)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		act();
		syscall(SYS_exit_group, 0); /* the sanitizers' and cmocka's own tidying is not on the list */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void install(void)
{
	if (syscall_filter_install("test", rules, ARRAY_SIZE(rules), SYSCALL_FILTER_THREAD))
		syscall(SYS_exit_group, 3);
}

static void act_allowed(void)
{
	install();
	syscall(SYS_getpid);
	syscall(SYS_fcntl, 0, F_GETFL);
	/* The kernel ignores the upper half of a command; the rule does too. */
	syscall(SYS_fcntl, 0, 0xdead00000000ull | F_GETFD);
}

static void act_unlisted(void)
{
	install();
	syscall(SYS_getsid, 0);
}

static void act_other_argument(void)
{
	install();
	syscall(SYS_fcntl, 0, F_SETFL, 0);
}

static int go[2];

static void *other_thread(void *opaque)
{
	char byte;

	/* The read began before the filter; the call after it is judged by the filter. */
	if (syscall(SYS_read, go[0], &byte, 1) == 1)
		syscall(SYS_getsid, 0);
	syscall(SYS_exit_group, 0);
	return NULL;
}

static void act_in_another_thread(enum syscall_filter_scope scope)
{
	static const struct syscall_rule with_write[] = {
		SYSCALL_ALLOW(exit_group), SYSCALL_ALLOW(write), SYSCALL_ALLOW(futex),
		SYSCALL_ALLOW(read), SYSCALL_ALLOW(pause),
	};
	pthread_t thread;

	if (pipe(go) || pthread_create(&thread, NULL, other_thread, NULL) ||
	    syscall_filter_install("test", with_write, ARRAY_SIZE(with_write), scope))
		syscall(SYS_exit_group, 3);
	if (syscall(SYS_write, go[1], "g", 1) == 1)
		for (;;)
			syscall(SYS_pause);
}

static void act_all_threads(void)
{
	act_in_another_thread(SYSCALL_FILTER_PROCESS);
}

static void act_own_thread(void)
{
	act_in_another_thread(SYSCALL_FILTER_THREAD);
}

static void test_listed_calls_pass(void **state)
{
	assert_int_equal(outcome(act_allowed), 0);
}

static void test_others_kill(void **state)
{
	assert_int_equal(outcome(act_unlisted), -SIGSYS);
	assert_int_equal(outcome(act_other_argument), -SIGSYS);
}

static void test_scope(void **state)
{
	assert_int_equal(outcome(act_all_threads), -SIGSYS);
	assert_int_equal(outcome(act_own_thread), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listed_calls_pass),
		cmocka_unit_test(test_others_kill),
		cmocka_unit_test(test_scope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
