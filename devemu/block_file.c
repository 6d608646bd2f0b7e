#include "devemu/block_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/log.h"

#define RING_FILE    0 /* our descriptor's index in the ring's table of files */
#define RING_ENTRIES 128u /* transfers the kernel has at a time; more wait here */

/* A request under way. */
struct file_op {
	struct block_request *req;
	struct iovec *copy;	 /* of the iovec, once a transfer came short; NULL before */
	const struct iovec *iov; /* what is still to be transferred */
	unsigned int iov_count;
	uint64_t offset; /* of that, bytes */
	uint64_t left;	 /* bytes */
	STAILQ_ENTRY(file_op) link;
};

struct block_file {
	struct block_backend be;
	const char *name;
	int fd;
	int event_fd;
	struct loop_io *io;
	struct io_uring ring;
	STAILQ_HEAD(, file_op) waiting;
	STAILQ_HEAD(, file_op) spare;
	unsigned int in_flight; /* with the kernel, or queued for it */
	uint64_t reads, writes, bytes_read, bytes_written, errors;
	uint64_t syncs; /* fdatasyncs the kernel was asked for: one for each flush */
};

static struct block_file *file_of(struct block_backend *be)
{
	return container_of(be, struct block_file, be);
}

static void prepare(struct block_file *f, struct file_op *op, struct io_uring_sqe *sqe)
{
	unsigned int count = MIN(op->iov_count, (unsigned int)IOV_MAX);

	switch (op->req->op) {
	case BLOCK_READ:
		io_uring_prep_readv(sqe, RING_FILE, op->iov, count, op->offset);
		break;
	case BLOCK_WRITE:
		io_uring_prep_writev(sqe, RING_FILE, op->iov, count, op->offset);
		break;
	case BLOCK_FLUSH:
		io_uring_prep_fsync(sqe, RING_FILE, IORING_FSYNC_DATASYNC);
		f->syncs++;
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
}

/* Queues what waits for as long as the ring has room. */
static void feed_ring(struct block_file *f)
{
	struct io_uring_sqe *sqe;
	struct file_op *op;

	while ((op = STAILQ_FIRST(&f->waiting)) && f->in_flight < RING_ENTRIES) {
		sqe = io_uring_get_sqe(&f->ring);
		if (!sqe)
			return;
		STAILQ_REMOVE_HEAD(&f->waiting, link);
		prepare(f, op, sqe);
		f->in_flight++;
	}
}

static void finish(struct block_file *f, struct file_op *op, int result)
{
	struct block_request *req = op->req;

	free(op->copy);
	STAILQ_INSERT_HEAD(&f->spare, op, link);
	if (result < 0) {
		f->errors++;
		log_guest("%s: %s at %llu failed: %s", f->name,
			  req->op == BLOCK_READ ? "read" :
			  req->op == BLOCK_WRITE ? "write" : "flush",
			  (unsigned long long)req->offset, strerror(-result));
	}
	req->done(req, result);
}

/* Skips `done` bytes of the iovec, in a copy of our own: the caller's stays as it is. */
static int advance(struct file_op *op, uint64_t done)
{
	struct iovec *iov;

	if (!op->copy) {
		op->copy = malloc(op->iov_count * sizeof(*op->copy));
		if (!op->copy)
			return -ENOMEM;
		memcpy(op->copy, op->iov, op->iov_count * sizeof(*op->copy));
		op->iov = op->copy;
	}
	iov = op->copy + (op->iov - op->copy);
	op->offset += done;
	op->left -= done;
	while (op->iov_count && done >= iov->iov_len) {
		done -= iov->iov_len;
		iov++;
		op->iov_count--;
	}
	if (op->iov_count) {
		iov->iov_base = (char *)iov->iov_base + done;
		iov->iov_len -= done;
	}
	op->iov = iov;
	return 0;
}

static void completed(struct block_file *f, struct file_op *op, int result)
{
	int err;

	f->in_flight--;
	if (result == -EAGAIN || result == -EINTR) {
		STAILQ_INSERT_TAIL(&f->waiting, op, link);
		return;
	}
	if (result < 0 || op->req->op == BLOCK_FLUSH) {
		finish(f, op, MIN(result, 0));
		return;
	}
	if (op->req->op == BLOCK_READ)
		f->bytes_read += (unsigned int)result;
	else
		f->bytes_written += (unsigned int)result;
	if ((uint64_t)result == op->left) {
		finish(f, op, 0);
		return;
	}
	/* Nothing at all: the file has become shorter than it was, or takes no more. */
	err = result ? advance(op, (uint64_t)result) : -EIO;
	if (err)
		finish(f, op, err);
	else
		STAILQ_INSERT_TAIL(&f->waiting, op, link);
}

/* Each completion is taken off the ring before its callback, which may submit again. */
static void reap(struct block_file *f)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&f->ring, &cqe)) {
		struct file_op *op = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&f->ring, cqe);
		completed(f, op, result);
	}
}

static void file_kick(struct block_backend *be)
{
	struct block_file *f = file_of(be);
	uint64_t one = 1;

	feed_ring(f);
	if (!io_uring_sq_ready(&f->ring))
		return;
	/* The kernel is short of something for the moment: come round again. */
	if (io_uring_submit(&f->ring) < 0 && write(f->event_fd, &one, sizeof(one)) < 0)
		log_err("%s: disk requests cannot be submitted: %s", f->name, strerror(errno));
}

static void on_event(void *opaque, int fd, unsigned int events)
{
	struct block_file *f = opaque;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return;
	reap(f);
	file_kick(&f->be);
}

static uint64_t request_length(const struct block_request *req)
{
	uint64_t len = 0;

	for (unsigned int i = 0; i < req->iov_count; i++)
		len += req->iov[i].iov_len;
	return len;
}

static int check(const struct block_file *f, const struct block_request *req, uint64_t len)
{
	if (req->op == BLOCK_FLUSH)
		return 0;
	if (req->op == BLOCK_WRITE && f->be.read_only)
		return -EROFS;
	return range_within(req->offset, len, f->be.capacity) ? 0 : -EINVAL;
}

static struct file_op *take_op(struct block_file *f)
{
	struct file_op *op = STAILQ_FIRST(&f->spare);

	if (op)
		STAILQ_REMOVE_HEAD(&f->spare, link);
	else
		op = malloc(sizeof(*op));
	return op;
}

static void file_submit(struct block_backend *be, struct block_request *req)
{
	struct block_file *f = file_of(be);
	uint64_t len = req->op == BLOCK_FLUSH ? 0 : request_length(req);
	int err = check(f, req, len);
	struct file_op *op = err ? NULL : take_op(f);

	if (!op) {
		f->errors++;
		req->done(req, err ? err : -ENOMEM);
		return;
	}
	*op = (struct file_op){
		.req = req, .iov = req->iov, .iov_count = req->iov_count, .offset = req->offset,
		.left = len,
	};
	if (req->op == BLOCK_READ)
		f->reads++;
	else if (req->op == BLOCK_WRITE)
		f->writes++;
	if (!len && req->op != BLOCK_FLUSH) {
		finish(f, op, 0);
		return;
	}
	STAILQ_INSERT_TAIL(&f->waiting, op, link);
	feed_ring(f);
}

static void file_drain(struct block_backend *be)
{
	struct block_file *f = file_of(be);
	int err;

	while (f->in_flight || !STAILQ_EMPTY(&f->waiting)) {
		feed_ring(f);
		err = io_uring_submit_and_wait(&f->ring, 1);
		if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY) {
			log_err("%s: waiting for disk requests: %s", f->name, strerror(-err));
			return;
		}
		reap(f);
	}
}

static void free_file(struct block_file *f)
{
	struct file_op *op;

	while ((op = STAILQ_FIRST(&f->spare))) {
		STAILQ_REMOVE_HEAD(&f->spare, link);
		free(op);
	}
	if (f->event_fd >= 0)
		close(f->event_fd);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static void file_destroy(struct block_backend *be)
{
	struct block_file *f = file_of(be);

	file_drain(be);
	loop_io_remove(f->io);
	io_uring_queue_exit(&f->ring);
	free_file(f);
}

static void file_counters(struct block_backend *be, counter_fn emit, void *opaque)
{
	const struct block_file *f = file_of(be);

	emit(opaque, "file_reads", f->reads);
	emit(opaque, "file_writes", f->writes);
	emit(opaque, "file_syncs", f->syncs);
	emit(opaque, "file_bytes_read", f->bytes_read);
	emit(opaque, "file_bytes_written", f->bytes_written);
	emit(opaque, "file_errors", f->errors);
}

static const struct block_backend_ops file_ops = {
	.submit = file_submit,
	.kick = file_kick,
	.drain = file_drain,
	.counters = file_counters,
	.destroy = file_destroy,
};

static int measure_device(struct block_file *f, char *why, size_t why_size)
{
	unsigned int physical = 0;
	int logical = 0, err;

	if (ioctl(f->fd, BLKGETSIZE64, &f->be.capacity) < 0 ||
	    ioctl(f->fd, BLKSSZGET, &logical) < 0 || ioctl(f->fd, BLKPBSZGET, &physical) < 0) {
		err = -errno;
		snprintf(why, why_size, "its size cannot be read: %s", strerror(-err));
		return err;
	}
	f->be.logical_block = (uint32_t)logical;
	f->be.physical_block = physical;
	return 0;
}

static int measure(struct block_file *f, char *why, size_t why_size)
{
	struct stat st;
	int flags = fcntl(f->fd, F_GETFL);
	int err;

	if (flags < 0 || fstat(f->fd, &st) < 0) {
		err = -errno;
		snprintf(why, why_size, "%s", strerror(-err));
		return err;
	}
	if ((flags & O_ACCMODE) == O_WRONLY ||
	    (!f->be.read_only && (flags & O_ACCMODE) != O_RDWR)) {
		snprintf(why, why_size, "it is not open for %s",
			 f->be.read_only ? "reading" : "reading and writing");
		return -EACCES;
	}
	if (flags & O_DIRECT) {
		snprintf(why, why_size, "it is open O_DIRECT; guest buffers are not aligned for "
			 "that, open it without");
		return -EINVAL;
	}
	/* Whoever opened it may have guarded against a FIFO; io_uring would answer EAGAIN to all that
	 * is not in the page cache, instead of waiting for it off our thread. */
	if (flags & O_NONBLOCK && fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
		err = -errno;
		snprintf(why, why_size, "it is open O_NONBLOCK: %s", strerror(-err));
		return err;
	}
	if (S_ISBLK(st.st_mode))
		return measure_device(f, why, why_size);
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, why_size, "it is neither a file nor a block device");
		return -EINVAL;
	}
	if (!st.st_size || st.st_size % BLOCK_SECTOR) {
		snprintf(why, why_size, "its size of %lld bytes is not a multiple of %u",
			 (long long)st.st_size, BLOCK_SECTOR);
		return -EINVAL;
	}
	f->be.capacity = (uint64_t)st.st_size;
	f->be.logical_block = BLOCK_SECTOR;
	f->be.physical_block = MAX((uint32_t)st.st_blksize, BLOCK_SECTOR);
	return 0;
}

/*
 * The kernel acts on what it finds in the ring's memory, and no list of system calls looks at that.
 * So the ring itself is told, for good, that it transfers and flushes, and this file only: whoever
 * takes this process over gains nothing by it.
 */
static int restrict_ring(struct block_file *f)
{
	static const uint8_t allowed[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC};
	struct io_uring_restriction rules[ARRAY_SIZE(allowed) + 2] = {0};
	int err = io_uring_register_files(&f->ring, &f->fd, 1);

	for (unsigned int i = 0; i < ARRAY_SIZE(allowed); i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = allowed[i];
	}
	rules[ARRAY_SIZE(allowed)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[ARRAY_SIZE(allowed)].sqe_flags = IOSQE_FIXED_FILE;
	rules[ARRAY_SIZE(allowed) + 1].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	rules[ARRAY_SIZE(allowed) + 1].sqe_flags = IOSQE_FIXED_FILE;
	/* By hand: liburing 2.3 declares these two and does not export them. */
	if (!err && (syscall(SYS_io_uring_register, f->ring.ring_fd, IORING_REGISTER_RESTRICTIONS,
			     rules, ARRAY_SIZE(rules)) < 0 ||
		     syscall(SYS_io_uring_register, f->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
			     NULL, 0) < 0))
		err = -errno;
	return err;
}

static int start_ring(struct block_file *f, struct loop *loop, char *why, size_t why_size)
{
	int err = io_uring_queue_init(RING_ENTRIES, &f->ring, IORING_SETUP_R_DISABLED);

	if (err < 0) {
		snprintf(why, why_size, "io_uring cannot be used: %s; see kernel.io_uring_disabled",
			 strerror(-err));
		return err;
	}
	f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = f->event_fd < 0 ? -errno : io_uring_register_eventfd(&f->ring, f->event_fd);
	if (!err)
		err = restrict_ring(f);
	if (!err) {
		f->io = loop_io_add(loop, f->event_fd, LOOP_READ, on_event, f);
		err = f->io ? 0 : -ENOMEM;
	}
	if (err) {
		snprintf(why, why_size, "io_uring's completions cannot be watched: %s",
			 strerror(-err));
		io_uring_queue_exit(&f->ring);
	}
	return err;
}

int block_file_create(const struct block_file_config *config, struct block_backend **be, char *why,
		      size_t why_size)
{
	struct block_file *f = calloc(1, sizeof(*f));
	int err;

	if (!f) {
		close(config->fd);
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	f->be.ops = &file_ops;
	f->be.read_only = config->read_only;
	f->name = config->name;
	f->fd = config->fd;
	f->event_fd = -1;
	STAILQ_INIT(&f->waiting);
	STAILQ_INIT(&f->spare);
	err = measure(f, why, why_size);
	if (!err)
		err = start_ring(f, config->loop, why, why_size);
	if (err) {
		free_file(f);
		return err;
	}
	*be = &f->be;
	return 0;
}
