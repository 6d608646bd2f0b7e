#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/loop.h"

struct fixture {
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_signal *sig;
	struct loop_notice *notice;
	int sock[2];
	int calls;
	unsigned int events;
	int order[8];
	int seen_done;
	pthread_t thread;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ 0 };
	f.loop = loop_create();
	assert_non_null(f.loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f.sock), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_io_remove(f->io);
	loop_timer_destroy(f->timer);
	loop_signal_remove(f->sig);
	loop_destroy(f->loop);
	close(f->sock[0]);
	close(f->sock[1]);
	return 0;
}

static void stop(void *opaque)
{
	struct fixture *f = opaque;

	f->calls++;
	loop_stop(f->loop);
}

static void test_stop_before_run_is_kept(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->loop);
	assert_int_equal(loop_run(f->loop), 0);
	/* And it stops one run only. */
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 1);
}

static void note_first(void *opaque)
{
	struct fixture *f = opaque;

	f->order[f->calls++] = 1;
}

static void note_second(void *opaque)
{
	struct fixture *f = opaque;

	f->order[f->calls++] = 2;
}

static void test_posts_run_in_order(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_post(f->loop, note_first, f), 0);
	assert_int_equal(loop_post(f->loop, note_second, f), 0);
	assert_int_equal(loop_post(f->loop, note_first, f), 0);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 4);
	assert_int_equal(f->order[0], 1);
	assert_int_equal(f->order[1], 2);
	assert_int_equal(f->order[2], 1);
}

static void raise_again(void *opaque)
{
	struct fixture *f = opaque;

	if (++f->calls == 1) {
		loop_notice_raise(f->notice);
		loop_notice_raise(f->notice);
	}
}

/* However often it is raised it runs once, in its turn, and may raise itself. */
static void test_notice(void **state)
{
	struct fixture *f = *state;

	f->notice = loop_notice_create(f->loop, raise_again, f);
	assert_non_null(f->notice);
	loop_notice_raise(f->notice);
	loop_notice_raise(f->notice);
	assert_int_equal(loop_post(f->loop, note_second, f), 0);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 3); /* raise_again, note_second, stop */
	assert_int_equal(f->order[1], 2);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 5);
	loop_notice_destroy(f->notice);
}

static void destroy_notice(void *opaque)
{
	struct fixture *f = opaque;

	loop_notice_destroy(f->notice);
}

static void test_notice_destroyed_while_raised(void **state)
{
	struct fixture *f = *state;

	f->notice = loop_notice_create(f->loop, note_first, f);
	assert_non_null(f->notice);
	assert_int_equal(loop_post(f->loop, destroy_notice, f), 0);
	loop_notice_raise(f->notice);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 1); /* stop alone */
	f->notice = loop_notice_create(f->loop, note_first, f);
	assert_non_null(f->notice);
	loop_notice_raise(f->notice); /* the last in the queue */
	loop_notice_destroy(f->notice);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 2);
}

static void *post_and_call(void *opaque)
{
	struct fixture *f = opaque;

	/* What was seen is judged by the test's own thread. */
	for (int i = 0; i < 3; i++) {
		if (loop_call(f->loop, note_first, f) == 0 && f->calls == i + 1)
			f->seen_done++;
	}
	if (loop_post(f->loop, stop, f))
		f->seen_done = -1;
	return NULL;
}

static void test_call_from_another_thread_waits(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pthread_create(&f->thread, NULL, post_and_call, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	pthread_join(f->thread, NULL);
	assert_int_equal(f->seen_done, 3);
	assert_int_equal(f->calls, 4);
}

static void test_call_from_own_thread_is_direct(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_call(f->loop, note_first, f), 0);
	assert_int_equal(f->calls, 1);
}

static void on_io(void *opaque, int fd, unsigned int events)
{
	struct fixture *f = opaque;

	f->events = events;
	f->calls++;
	loop_io_remove(f->io); /* its own, from within */
	f->io = NULL;
	loop_stop(f->loop);
}

static void test_readable_and_removed_within(void **state)
{
	struct fixture *f = *state;

	f->io = loop_io_add(f->loop, f->sock[0], LOOP_READ, on_io, f);
	assert_non_null(f->io);
	assert_int_equal(write(f->sock[1], "x", 1), 1);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->events, LOOP_READ);
	/* The byte is still there, but nobody watches. */
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 2);
}

static void test_events_can_be_changed(void **state)
{
	struct fixture *f = *state;

	f->io = loop_io_add(f->loop, f->sock[0], 0, on_io, f);
	assert_non_null(f->io);
	assert_int_equal(write(f->sock[1], "x", 1), 1);
	assert_int_equal(loop_post(f->loop, stop, f), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->events, 0);
	assert_int_equal(loop_io_set_events(f->io, LOOP_READ | LOOP_WRITE), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->events, LOOP_READ | LOOP_WRITE);
}

static void on_edge(void *opaque, int fd, unsigned int events)
{
	struct fixture *f = opaque;

	f->calls++;
	if (loop_timer_arm(f->timer, 2000000))
		fail();
}

static void test_edge_tells_once(void **state)
{
	struct fixture *f = *state;

	f->timer = loop_timer_create(f->loop, stop, f);
	f->io = loop_io_add(f->loop, f->sock[0], LOOP_READ | LOOP_EDGE, on_edge, f);
	assert_non_null(f->io);
	assert_int_equal(write(f->sock[1], "x", 1), 1);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 2); /* one edge, one stop; the byte was never read */
}

static void test_timer_disarm_and_rearm(void **state)
{
	struct fixture *f = *state;
	struct loop_timer *never = loop_timer_create(f->loop, note_first, f);

	f->timer = loop_timer_create(f->loop, stop, f);
	assert_non_null(never);
	assert_non_null(f->timer);
	assert_int_equal(loop_timer_arm(never, 1), 0);
	loop_timer_disarm(never);
	assert_int_equal(loop_timer_arm(f->timer, 3600ULL * 1000000000), 0);
	assert_int_equal(loop_timer_arm(f->timer, 1), 0); /* moved to now */
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 1);
	loop_timer_destroy(never);
}

static void test_signal(void **state)
{
	struct fixture *f = *state;

	f->sig = loop_signal_add(f->loop, SIGUSR1, stop, f);
	assert_non_null(f->sig);
	raise(SIGUSR1);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 1);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_stop_before_run_is_kept),
		LOOP_TEST(test_posts_run_in_order),
		LOOP_TEST(test_notice),
		LOOP_TEST(test_notice_destroyed_while_raised),
		LOOP_TEST(test_call_from_another_thread_waits),
		LOOP_TEST(test_call_from_own_thread_is_direct),
		LOOP_TEST(test_readable_and_removed_within),
		LOOP_TEST(test_events_can_be_changed),
		LOOP_TEST(test_edge_tells_once),
		LOOP_TEST(test_timer_disarm_and_rearm),
		LOOP_TEST(test_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
