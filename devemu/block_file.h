/*
 * A block backend on a file or block device, by io_uring: one ring a disk, completions come as an
 * eventfd on the loop. FLUSH completes after fdatasync. Short transfers are continued. io thread.
 */
#ifndef DEVEMU_BLOCK_FILE_H
#define DEVEMU_BLOCK_FILE_H

#include "core/block_backend.h"
#include "core/device.h"
#include "core/loop.h"

struct block_file_config {
	const char *name;  /* for log lines; copied by reference */
	struct loop *loop;
	int fd;		   /* taken over, also when creation fails */
	bool read_only;
};

/*
 * 0 or -errno with a line in `why`: not a regular file or block device, a size that is not a
 * multiple of a sector, not opened for writing, opened O_DIRECT (guest buffers are not aligned for
 * it; the page cache is used).
 */
must_check int block_file_create(const struct block_file_config *config, struct block_backend **be,
				 char *why, size_t why_size);

#endif
