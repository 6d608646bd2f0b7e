#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "mgmt/process.h"

static pid_t spawn(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		/* A name that would mislead who splits at blanks or at the first bracket. */
		prctl(PR_SET_NAME, "a) Z 1 (b");
		for (;;)
			pause();
	}
	return pid;
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

static void test_watch(void **state)
{
	struct loop *loop = loop_create();
	struct process_watch *watch;
	uint64_t start_time, again;
	pid_t pid = spawn();

	assert_int_equal(process_start_time(pid, &start_time), 0);
	assert_int_equal(process_start_time(pid, &again), 0);
	assert_true(start_time == again && start_time > 0);
	assert_true(process_has_uid(pid, getuid()));
	assert_false(process_has_uid(pid, getuid() + 1));
	assert_int_equal(process_watch_create(loop, pid, start_time + 1, stop, loop, &watch),
			 -ESRCH);
	assert_int_equal(process_watch_create(loop, pid, start_time, stop, loop, &watch), 0);
	kill(pid, SIGKILL);
	assert_int_equal(loop_run(loop), 0);
	process_watch_destroy(watch);
	/* Not yet waited for: a zombie is no process any more. */
	assert_int_equal(process_start_time(pid, &again), -ESRCH);
	assert_int_equal(process_watch_create(loop, pid, start_time, stop, loop, &watch), -ESRCH);
	waitpid(pid, NULL, 0);
	assert_int_equal(process_watch_create(loop, pid, start_time, stop, loop, &watch), -ESRCH);
	loop_destroy(loop);
}

static void *pause_for_ever(void *opaque)
{
	for (;;)
		pause();
	return NULL;
}

static void test_process_that_ends_thread_by_thread(void **state)
{
	struct loop *loop = loop_create();
	struct process_watch *watch;
	uint64_t start_time, again;
	pthread_t thread;
	int fds[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (pthread_create(&thread, NULL, pause_for_ever, NULL) ||
		    read(fds[0], &byte, 1) != 1)
			_exit(1);
		syscall(SYS_exit, 0); /* this thread only */
	}
	assert_int_equal(process_start_time(pid, &start_time), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	while (process_start_time(pid, &again) == 0)
		sched_yield();
	/* Its first thread is a zombie now, but it has not ended. */
	assert_int_equal(process_watch_create(loop, pid, start_time, stop, loop, &watch), 0);
	kill(pid, SIGKILL);
	assert_int_equal(loop_run(loop), 0);
	process_watch_destroy(watch);
	waitpid(pid, NULL, 0);
	close(fds[0]);
	close(fds[1]);
	loop_destroy(loop);
}

static void test_pids_that_are_none(void **state)
{
	struct process_watch *watch;
	uint64_t start_time;

	assert_int_equal(process_start_time(0, &start_time), -ESRCH);
	assert_int_equal(process_start_time(-1, &start_time), -ESRCH);
	assert_false(process_has_uid(0, getuid()));
	assert_int_equal(process_watch_create(NULL, 0, 0, stop, NULL, &watch), -ESRCH);
}

static void test_boot_id(void **state)
{
	char boot_id[BOOT_ID_SIZE];

	assert_int_equal(process_boot_id(boot_id), 0);
	assert_int_equal(strlen(boot_id), 36);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_process_that_ends_thread_by_thread),
		cmocka_unit_test(test_pids_that_are_none),
		cmocka_unit_test(test_boot_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
