#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "devemu/block_file.h"

#define DISK_SIZE (1u << 20)
#define MANY	  400u /* more than the ring takes at a time */

struct fixture {
	struct loop *loop;
	struct block_backend *be;
	char path[64];
	unsigned int done;
	int last;
};

struct tracked {
	struct block_request req;
	struct fixture *f;
	struct iovec iov[4];
	int result;
	unsigned int times;
	unsigned int stop_at; /* stop the loop once so many have finished; 0: never */
};

static int open_image(struct fixture *f, off_t size, int flags)
{
	int fd;

	strcpy(f->path, "/tmp/test_block_file.XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	fd = open(f->path, flags | O_CLOEXEC);
	unlink(f->path);
	assert_true(fd >= 0);
	return fd;
}

static int create(struct fixture *f, int fd, bool read_only, char *why, size_t size)
{
	struct block_file_config config = {
		.name = "disk0", .loop = f->loop, .fd = fd, .read_only = read_only,
	};

	return block_file_create(&config, &f->be, why, size);
}

static int setup(void **state)
{
	static struct fixture f;
	char why[200] = "";

	f = (struct fixture){0};
	f.loop = loop_create();
	assert_non_null(f.loop);
	if (create(&f, open_image(&f, DISK_SIZE, O_RDWR), false, why, sizeof(why)))
		fail_msg("%s", why);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->be)
		f->be->ops->destroy(f->be);
	loop_destroy(f->loop);
	return 0;
}

static void request_done(struct block_request *req, int result)
{
	struct tracked *t = container_of(req, struct tracked, req);

	t->result = result;
	t->times++;
	t->f->done++;
	if (t->stop_at && t->f->done == t->stop_at)
		loop_stop(t->f->loop);
}

static void start(struct fixture *f, struct tracked *t, enum block_op op, uint64_t offset,
		  unsigned int iov_count)
{
	t->f = f;
	t->result = 1;
	t->times = 0;
	t->req = (struct block_request){
		.op = op, .offset = offset, .iov = t->iov, .iov_count = iov_count,
		.done = request_done,
	};
	f->be->ops->submit(f->be, &t->req);
}

static void fill(uint8_t *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + seed);
}

static uint64_t counter_value;
static const char *counter_name;

static void pick_counter(void *opaque, const char *name, uint64_t value)
{
	if (!strcmp(name, counter_name))
		counter_value = value;
}

static uint64_t counter(struct fixture *f, const char *name)
{
	counter_name = name;
	counter_value = UINT64_MAX;
	f->be->ops->counters(f->be, pick_counter, NULL);
	return counter_value;
}

static void test_written_sectors_read_back_through_the_loop(void **state)
{
	struct fixture *f = *state;
	static uint8_t out[3 * 512], in[3 * 512];
	struct tracked w, r, fl;

	fill(out, sizeof(out), 3);
	w.stop_at = r.stop_at = fl.stop_at = 0;
	w.iov[0] = (struct iovec){ out, 512 };
	w.iov[1] = (struct iovec){ out + 512, 1024 };
	start(f, &w, BLOCK_WRITE, 4096, 2);
	w.stop_at = 1;
	f->be->ops->kick(f->be);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(w.result, 0);

	start(f, &fl, BLOCK_FLUSH, 0, 0);
	fl.stop_at = 2;
	f->be->ops->kick(f->be);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(fl.result, 0);

	r.iov[0] = (struct iovec){ in, sizeof(in) };
	start(f, &r, BLOCK_READ, 4096, 1);
	r.stop_at = 3;
	f->be->ops->kick(f->be);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(r.result, 0);
	assert_memory_equal(in, out, sizeof(out));
	assert_int_equal(counter(f, "file_reads"), 1);
	assert_int_equal(counter(f, "file_writes"), 1);
	assert_int_equal(counter(f, "file_syncs"), 1);
	assert_int_equal(counter(f, "file_bytes_written"), sizeof(out));
	assert_int_equal(counter(f, "file_bytes_read"), sizeof(in));
	assert_int_equal(counter(f, "file_errors"), 0);
}

static void test_more_requests_than_ring_entries_all_finish_once(void **state)
{
	struct fixture *f = *state;
	static struct tracked t[MANY];
	static uint8_t buf[MANY][512], back[512];
	struct tracked r = {0};

	for (unsigned int i = 0; i < MANY; i++) {
		fill(buf[i], 512, i);
		t[i].stop_at = 0;
		t[i].iov[0] = (struct iovec){ buf[i], 512 };
		start(f, &t[i], BLOCK_WRITE, i * 512ULL, 1);
	}
	f->be->ops->kick(f->be);
	f->be->ops->drain(f->be);
	assert_int_equal(f->done, MANY);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(t[i].result, 0);
		assert_int_equal(t[i].times, 1);
		r.iov[0] = (struct iovec){ back, 512 };
		start(f, &r, BLOCK_READ, i * 512ULL, 1);
		f->be->ops->drain(f->be);
		assert_memory_equal(back, buf[i], 512);
	}
}

/* The file shrinks behind our back: the transfer comes short, then nothing comes at all. */
static void test_a_short_read_is_continued_and_ends_in_an_error(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[8192];
	struct tracked r = {0};
	char why[200];
	int fd = open_image(f, 8192, O_RDWR), keep = dup(fd);

	f->be->ops->destroy(f->be);
	f->be = NULL;
	assert_int_equal(create(f, fd, false, why, sizeof(why)), 0);
	assert_int_equal(ftruncate(keep, 6000), 0);
	close(keep);
	r.iov[0] = (struct iovec){ buf, 1000 };
	r.iov[1] = (struct iovec){ buf + 1000, 7192 };
	start(f, &r, BLOCK_READ, 0, 2);
	f->be->ops->drain(f->be);
	assert_int_equal(r.times, 1);
	assert_int_equal(r.result, -EIO);
	assert_int_equal(counter(f, "file_bytes_read"), 6000);
	assert_int_equal(counter(f, "file_errors"), 1);
	/* The caller's iovec is untouched. */
	assert_ptr_equal(r.iov[1].iov_base, buf + 1000);
	assert_int_equal(r.iov[1].iov_len, 7192);
}

static void test_beyond_the_end_and_writes_to_read_only_are_refused(void **state)
{
	struct fixture *f = *state;
	static uint8_t buf[1024];
	struct tracked t = {0};
	char why[200];

	t.iov[0] = (struct iovec){ buf, 1024 };
	start(f, &t, BLOCK_READ, DISK_SIZE - 512, 1);
	assert_int_equal(t.result, -EINVAL);
	start(f, &t, BLOCK_WRITE, UINT64_MAX - 511, 1);
	assert_int_equal(t.result, -EINVAL);
	f->be->ops->destroy(f->be);
	f->be = NULL;
	assert_int_equal(create(f, open_image(f, DISK_SIZE, O_RDONLY), true, why, sizeof(why)), 0);
	start(f, &t, BLOCK_WRITE, 0, 1);
	assert_int_equal(t.result, -EROFS);
	start(f, &t, BLOCK_READ, 0, 1);
	f->be->ops->drain(f->be);
	assert_int_equal(t.result, 0);
	start(f, &t, BLOCK_FLUSH, 0, 0);
	f->be->ops->drain(f->be);
	assert_int_equal(t.result, 0);
}

static void test_unsuitable_files_are_refused_with_words(void **state)
{
	struct fixture *f = *state;
	struct block_backend *be = f->be;
	char why[200];
	int pipes[2];

	assert_int_equal(create(f, open_image(f, 1000, O_RDWR), false, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "1000"));
	assert_int_equal(create(f, open_image(f, 0, O_RDWR), false, why, sizeof(why)), -EINVAL);
	assert_int_equal(create(f, open_image(f, 512, O_RDONLY), false, why, sizeof(why)), -EACCES);
	assert_non_null(strstr(why, "writing"));
	assert_int_equal(pipe(pipes), 0);
	close(pipes[1]);
	assert_int_equal(create(f, pipes[0], true, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "neither"));
	f->be = be;
}

static void test_a_descriptor_that_does_not_wait_is_made_to(void **state)
{
	struct fixture *f = *state;
	struct block_backend *be = f->be;
	int fd = open_image(f, DISK_SIZE, O_RDWR | O_NONBLOCK);
	char why[200] = "";

	if (create(f, fd, false, why, sizeof(why)))
		fail_msg("%s", why);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	f->be->ops->destroy(f->be);
	f->be = be;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written_sectors_read_back_through_the_loop,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_more_requests_than_ring_entries_all_finish_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_short_read_is_continued_and_ends_in_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_beyond_the_end_and_writes_to_read_only_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unsuitable_files_are_refused_with_words,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_descriptor_that_does_not_wait_is_made_to, setup, teardown),
	};

	return cmocka_run_group_tests_name("block_file", tests, NULL, NULL);
}
