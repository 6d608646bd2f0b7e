/* The cut between a disk controller and what stores the blocks. io thread only. */
#ifndef CORE_BLOCK_BACKEND_H
#define CORE_BLOCK_BACKEND_H

#include <sys/uio.h>

#include "core/device.h"

#define BLOCK_SECTOR 512u /* bytes */

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH };

struct block_backend;

/* One request. The caller keeps it and its iovec until `done`; which may run before submit returns. */
struct block_request {
	enum block_op op;
	uint64_t offset; /* bytes, multiple of BLOCK_SECTOR */
	const struct iovec *iov;
	unsigned int iov_count;
	/* io thread. result: 0 or -errno. A flush completes after fdatasync. */
	void (*done)(struct block_request *req, int result);
};

struct block_backend_ops {
	/* Queues the request; errors come through done. Offset and length are within capacity. */
	void (*submit)(struct block_backend *be, struct block_request *req);
	/* Hands queued requests to the kernel: once per batch. */
	void (*kick)(struct block_backend *be);
	/* Waits until nothing is in flight (done has run for each). */
	void (*drain)(struct block_backend *be);
	/* What it counts, beside what the controller does. NULL: nothing. */
	void (*counters)(struct block_backend *be, counter_fn emit, void *opaque);
	void (*destroy)(struct block_backend *be);
};

struct block_backend {
	const struct block_backend_ops *ops;
	uint64_t capacity; /* bytes */
	bool read_only;
	uint32_t logical_block; /* bytes */
	uint32_t physical_block; /* bytes */
};

#endif
