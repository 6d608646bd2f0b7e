#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "devemu/char_stream.h"

struct fixture {
	struct loop *loop;
	struct char_backend *be;
	struct char_frontend fe;
	size_t room;
	uint8_t got[1024];
	size_t got_len;
	size_t wanted; /* stop the loop when so much input has come */
	struct loop_timer *limit;
	bool late;
	unsigned int rounds;
	char dir[64];
	struct sockaddr_un addr;
};

static size_t fe_room(void *opaque)
{
	return ((struct fixture *)opaque)->room;
}

static void fe_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct fixture *f = opaque;

	assert_true(len <= f->room);
	memcpy(f->got + f->got_len, buf, len);
	f->got_len += len;
	f->room -= len;
	if (f->got_len >= f->wanted)
		loop_stop(f->loop);
}

static void too_late(void *opaque)
{
	struct fixture *f = opaque;

	f->late = true;
	loop_stop(f->loop);
}

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	f.loop = loop_create();
	assert_non_null(f.loop);
	f.limit = loop_timer_create(f.loop, too_late, &f);
	f.fe = (struct char_frontend){ .room = fe_room, .receive = fe_receive, .opaque = &f };
	strcpy(f.dir, "/tmp/test_chars.XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->be)
		f->be->ops->destroy(f->be);
	loop_timer_destroy(f->limit);
	loop_destroy(f->loop);
	if (f->addr.sun_path[0])
		unlink(f->addr.sun_path);
	rmdir(f->dir);
	return 0;
}

/* Runs the loop until something stops it; 10 s is for ever. */
static void run(struct fixture *f)
{
	assert_int_equal(loop_timer_arm(f->limit, 10000000000ULL), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_false(f->late);
	loop_timer_disarm(f->limit);
}

static void one_round(void *opaque)
{
	struct fixture *f = opaque;

	if (f->rounds--)
		assert_int_equal(loop_post(f->loop, one_round, f), 0);
	else
		loop_stop(f->loop);
}

/* Lets everything that is ready happen: so many rounds of the loop, whatever time they take. */
static void settle(struct fixture *f)
{
	f->rounds = 50;
	one_round(f);
	assert_int_equal(loop_run(f->loop), 0);
}

static void put(struct fixture *f, const char *text)
{
	assert_int_equal(f->be->ops->write(f->be, (const uint8_t *)text, strlen(text)),
			 strlen(text));
}

static int listen_at(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	f->addr.sun_family = AF_UNIX;
	strcpy(f->addr.sun_path, f->dir);
	strcat(f->addr.sun_path, "/console");
	assert_int_equal(bind(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int client(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	return fd;
}

static void expect_text(int fd, const char *text)
{
	char buf[256];
	size_t len = 0;

	while (len < strlen(text)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&p, 1, 10000), 1);
		n = read(fd, buf + len, sizeof(buf) - len);
		assert_true(n > 0);
		len += (size_t)n;
	}
	assert_int_equal(len, strlen(text));
	assert_memory_equal(buf, text, len);
}

static void test_null_takes_everything(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(char_null_create(&f->be), 0);
	put(f, "into the void");
	assert_int_equal(f->be->dropped, 0);
}

static void test_file_is_appended_to(void **state)
{
	struct fixture *f = *state;
	char path[96], buf[64] = "";
	int fd;

	strcpy(path, f->dir);
	strcat(path, "/log");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "old ", 4), 4);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(char_file_create(f->loop, fd, &f->be), 0);
	put(f, "new ");
	settle(f);
	put(f, "last");
	f->be->ops->destroy(f->be); /* what waits is written out */
	f->be = NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, buf, sizeof(buf)), 12);
	assert_string_equal(buf, "old new last");
	close(fd);
	unlink(path);
}

static void test_socket_replays_to_each_new_client(void **state)
{
	struct fixture *f = *state;
	int first, second;

	assert_int_equal(char_socket_create(f->loop, listen_at(f), &f->be), 0);
	f->be->frontend = &f->fe;
	put(f, "boot ");
	first = client(f);
	settle(f);
	expect_text(first, "boot ");
	put(f, "login: ");
	settle(f);
	expect_text(first, "login: ");
	/* The newest wins; the old one sees the end. */
	second = client(f);
	settle(f);
	expect_text(second, "boot login: ");
	assert_int_equal(read(first, (char[1]){0}, 1), 0);
	close(first);
	close(second);
	assert_int_equal(f->be->dropped, 0);
	/* Nobody is there any more: nothing blocks, nothing counts as lost. */
	put(f, "more");
	settle(f);
	put(f, " text");
	settle(f);
	assert_int_equal(f->be->dropped, 0);
	first = client(f);
	settle(f);
	expect_text(first, "boot login: more text");
	close(first);
}

static void test_a_client_that_does_not_read_costs_bytes_not_time(void **state)
{
	struct fixture *f = *state;
	static uint8_t chunk[4096];
	uint64_t taken = 0;
	int fd;

	assert_int_equal(char_socket_create(f->loop, listen_at(f), &f->be), 0);
	fd = client(f);
	settle(f);
	for (unsigned int i = 0; i < 400; i++) {
		taken += f->be->ops->write(f->be, chunk, sizeof(chunk));
		if (i % 16 == 0)
			settle(f);
	}
	assert_true(f->be->dropped > 0);
	assert_int_equal(taken + f->be->dropped, 400 * sizeof(chunk));
	close(fd);
}

static void test_without_a_client_the_newest_output_is_kept(void **state)
{
	struct fixture *f = *state;
	static uint8_t chunk[CHAR_RING_SIZE];
	uint8_t first;
	int fd;

	assert_int_equal(char_socket_create(f->loop, listen_at(f), &f->be), 0);
	memset(chunk, 'a', sizeof(chunk));
	f->be->ops->write(f->be, chunk, sizeof(chunk));
	put(f, "zz");
	fd = client(f);
	settle(f);
	assert_int_equal(read(fd, &first, 1), 1);
	assert_int_equal(first, 'a');
	for (unsigned int left = CHAR_REPLAY_SIZE - 1; left;) {
		ssize_t n = read(fd, chunk, MIN(left, sizeof(chunk)));

		assert_true(n > 0);
		left -= (unsigned int)n;
		first = chunk[n - 1];
		settle(f);
	}
	assert_int_equal(first, 'z');
	close(fd);
}

static void test_input_comes_only_as_there_is_room(void **state)
{
	struct fixture *f = *state;
	int fd;

	assert_int_equal(char_socket_create(f->loop, listen_at(f), &f->be), 0);
	f->be->frontend = &f->fe;
	fd = client(f);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	settle(f);
	assert_int_equal(f->got_len, 0);
	f->room = 4;
	f->wanted = 4;
	f->be->ops->accept(f->be);
	run(f);
	assert_memory_equal(f->got, "0123", 4);
	f->room = 100;
	f->wanted = 10;
	f->be->ops->accept(f->be);
	run(f);
	assert_memory_equal(f->got, "0123456789", 10);
	/* A client that stops sending may go on reading. */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	settle(f);
	put(f, "still here");
	settle(f);
	expect_text(fd, "still here");
	close(fd);
}

static void test_pty_carries_both_ways_without_echo(void **state)
{
	struct fixture *f = *state;
	char name[64];
	int fd;

	assert_int_equal(char_pty_create(f->loop, name, sizeof(name), &f->be), 0);
	f->be->frontend = &f->fe;
	f->room = 100;
	put(f, "hello\n");
	settle(f);
	fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(fd >= 0);
	expect_text(fd, "hello\n");
	assert_int_equal(write(fd, "ls\r", 3), 3);
	f->wanted = 3;
	run(f);
	assert_int_equal(f->got_len, 3);
	assert_memory_equal(f->got, "ls\r", 3);
	close(fd);
	/* Nobody holds the terminal: the loop does not spin on an end of file, and it goes on. */
	settle(f);
	fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	f->wanted = 4;
	run(f);
	assert_int_equal(f->got[3], 'x');
	close(fd);
}

/* Standard input and output are replaced for the time of the test. */
static void test_stdio_uses_pipes(void **state)
{
	struct fixture *f = *state;
	int in[2], out[2], saved_in = dup(0), saved_out = dup(1), flags;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	fflush(stdout);
	dup2(in[0], 0);
	dup2(out[1], 1);
	assert_int_equal(char_stdio_create(f->loop, &f->be), 0);
	f->be->frontend = &f->fe;
	f->room = 100;
	f->wanted = 2;
	assert_int_equal(write(in[1], "hi", 2), 2);
	run(f);
	put(f, "out");
	settle(f);
	flags = fcntl(0, F_GETFL);
	f->be->ops->destroy(f->be);
	f->be = NULL;
	dup2(saved_in, 0);
	dup2(saved_out, 1);
	assert_memory_equal(f->got, "hi", 2);
	expect_text(out[0], "out");
	assert_false(flags & O_NONBLOCK); /* the shell's descriptor was left alone */
	close(in[0]);
	close(in[1]);
	close(out[0]);
	close(out[1]);
	close(saved_in);
	close(saved_out);
}

#define STREAM_BYTES 300000u

struct stream {
	struct fixture *f;
	int read_fd;
	unsigned int wrong;
	unsigned int received;
};

/* A vCPU that offers again what the ring had no room for. */
static void *produce(void *opaque)
{
	struct stream *s = opaque;
	uint8_t chunk[777];
	unsigned int at = 0;

	while (at < STREAM_BYTES) {
		size_t len = MIN(sizeof(chunk), STREAM_BYTES - at), took;

		for (size_t i = 0; i < len; i++)
			chunk[i] = (uint8_t)((at + i) * 31 >> 3);
		took = s->f->be->ops->write(s->f->be, chunk, len);
		at += (unsigned int)took;
		if (took < len)
			sched_yield();
	}
	return NULL;
}

static void *consume(void *opaque)
{
	struct stream *s = opaque;
	uint8_t chunk[1000];
	ssize_t n;

	while (s->received < STREAM_BYTES && (n = read(s->read_fd, chunk, sizeof(chunk))) > 0)
		for (ssize_t i = 0; i < n; i++, s->received++)
			s->wrong += chunk[i] != (uint8_t)(s->received * 31 >> 3);
	loop_stop(s->f->loop);
	return NULL;
}

static void test_order_is_kept_between_threads(void **state)
{
	struct fixture *f = *state;
	struct stream s = { .f = f };
	pthread_t producer, consumer;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	s.read_fd = fds[0];
	assert_int_equal(char_file_create(f->loop, fds[1], &f->be), 0);
	assert_int_equal(pthread_create(&producer, NULL, produce, &s), 0);
	assert_int_equal(pthread_create(&consumer, NULL, consume, &s), 0);
	assert_int_equal(loop_run(f->loop), 0);
	pthread_join(producer, NULL);
	pthread_join(consumer, NULL);
	assert_int_equal(s.received, STREAM_BYTES);
	assert_int_equal(s.wrong, 0);
	close(fds[0]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_null_takes_everything),
		T(test_file_is_appended_to),
		T(test_socket_replays_to_each_new_client),
		T(test_a_client_that_does_not_read_costs_bytes_not_time),
		T(test_without_a_client_the_newest_output_is_kept),
		T(test_input_comes_only_as_there_is_room),
		T(test_pty_carries_both_ways_without_echo),
		T(test_stdio_uses_pipes),
		T(test_order_is_kept_between_threads),
	};

	return cmocka_run_group_tests_name("chars", tests, NULL, NULL);
}
