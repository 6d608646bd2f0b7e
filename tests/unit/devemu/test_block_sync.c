/* Every flush is one fdatasync: counted where requests are handed to the kernel. */
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "devemu/block_file.h"

#define MANY 300u /* more than the ring takes at a time */

static unsigned int syncs, others;

static void look(const struct io_uring *ring)
{
	for (unsigned int i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
		const struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];

		if (sqe->opcode == IORING_OP_FSYNC) {
			assert_int_equal(sqe->fsync_flags, IORING_FSYNC_DATASYNC);
			syncs++;
		} else {
			others++;
		}
	}
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	look(ring);
	return __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n)
{
	look(ring);
	return __real_io_uring_submit_and_wait(ring, n);
}

static unsigned int finished, syncs_at_end;

static void request_done(struct block_request *req, int result)
{
	assert_int_equal(result, 0);
	finished++;
	/* It cannot be over before the kernel was asked. */
	if (req->op == BLOCK_FLUSH)
		assert_true(++syncs_at_end <= syncs);
}

static void test_each_flush_is_one_fdatasync(void **state)
{
	char path[] = "/tmp/test_block_sync.XXXXXX", why[200] = "";
	struct block_request *requests = calloc(2 * MANY, sizeof(*requests));
	struct block_file_config config = {.name = "disk0", .fd = mkstemp(path)};
	static uint8_t data[BLOCK_SECTOR];
	struct iovec iov = {data, sizeof(data)};
	struct block_backend *be;

	assert_non_null(requests);
	assert_true(config.fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(config.fd, MANY * BLOCK_SECTOR), 0);
	config.loop = loop_create();
	assert_int_equal(block_file_create(&config, &be, why, sizeof(why)), 0);
	for (unsigned int i = 0; i < MANY; i++) {
		requests[2 * i] = (struct block_request){
			.op = BLOCK_WRITE, .offset = (uint64_t)i * BLOCK_SECTOR, .iov = &iov,
			.iov_count = 1, .done = request_done,
		};
		requests[2 * i + 1] = (struct block_request){
			.op = BLOCK_FLUSH, .done = request_done,
		};
		be->ops->submit(be, &requests[2 * i]);
		be->ops->submit(be, &requests[2 * i + 1]);
		if (i % 7 == 0)
			be->ops->kick(be);
	}
	be->ops->drain(be);
	assert_int_equal(finished, 2 * MANY);
	assert_int_equal(syncs, MANY);
	assert_int_equal(others, MANY);
	be->ops->destroy(be);
	loop_destroy(config.loop);
	free(requests);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_flush_is_one_fdatasync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
