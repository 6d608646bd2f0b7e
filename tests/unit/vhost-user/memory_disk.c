#include "tests/unit/vhost-user/memory_disk.h"

#include <stdlib.h>

static struct memory_disk *disk_of(struct block_backend *be)
{
	return container_of(be, struct memory_disk, be);
}

static void check(const struct memory_disk *disk, const struct block_request *req)
{
	uint64_t len = 0;

	for (unsigned int i = 0; i < req->iov_count && req->op != BLOCK_FLUSH; i++)
		len += req->iov[i].iov_len;
	if (!range_within(req->offset, len, disk->be.capacity) || len % BLOCK_SECTOR ||
	    req->offset % BLOCK_SECTOR || (disk->be.read_only && req->op == BLOCK_WRITE))
		abort();
}

static void transfer(struct memory_disk *disk, struct block_request *req)
{
	uint64_t at = req->offset;

	for (unsigned int i = 0; i < req->iov_count && req->op != BLOCK_FLUSH; i++) {
		size_t len = req->iov[i].iov_len;

		if (!range_within(at, len, sizeof(disk->data)))
			abort();
		if (req->op == BLOCK_READ)
			memcpy(req->iov[i].iov_base, disk->data + at, len);
		else
			memcpy(disk->data + at, req->iov[i].iov_base, len);
		at += len;
	}
}

static void complete(struct memory_disk *disk, struct block_request *req)
{
	if (!disk->fail)
		transfer(disk, req);
	disk->flushes += req->op == BLOCK_FLUSH;
	req->done(req, disk->fail);
}

static void disk_submit(struct block_backend *be, struct block_request *req)
{
	struct memory_disk *disk = disk_of(be);

	check(disk, req);
	disk->submits++;
	disk->in_this_pass++;
	disk->most_in_a_pass = MAX(disk->most_in_a_pass, disk->in_this_pass);
	if (disk->on_submit)
		disk->on_submit(disk);
	if (!disk->deferred) {
		complete(disk, req);
		return;
	}
	if (disk->held_count == MEMORY_DISK_HELD)
		abort(); /* more than any ring holds */
	disk->held[disk->held_count++] = req;
}

static void disk_kick(struct block_backend *be)
{
	disk_of(be)->kicks++;
	disk_of(be)->in_this_pass = 0;
}

void memory_disk_reverse(struct memory_disk *disk)
{
	for (unsigned int i = 0, j = disk->held_count; i + 1 < j; i++) {
		struct block_request *req = disk->held[--j];

		disk->held[j] = disk->held[i];
		disk->held[i] = req;
	}
}

void memory_disk_complete(struct memory_disk *disk, unsigned int n)
{
	while (n-- && disk->held_count) {
		struct block_request *req = disk->held[0];

		memmove(disk->held, disk->held + 1, --disk->held_count * sizeof(disk->held[0]));
		complete(disk, req);
	}
}

void memory_disk_drain(struct block_backend *be)
{
	struct memory_disk *disk = disk_of(be);

	while (disk->held_count)
		memory_disk_complete(disk, 1);
}

static void disk_destroy(struct block_backend *be)
{
	disk_of(be)->destroyed = true;
}

static const struct block_backend_ops ops = {
	.submit = disk_submit,
	.kick = disk_kick,
	.drain = memory_disk_drain,
	.destroy = disk_destroy,
};

void memory_disk_init(struct memory_disk *disk)
{
	*disk = (struct memory_disk){
		.be = { .ops = &ops, .capacity = sizeof(disk->data),
			.logical_block = BLOCK_SECTOR, .physical_block = 4096 },
	};
	for (unsigned int i = 0; i < sizeof(disk->data); i++)
		disk->data[i] = (uint8_t)(i / BLOCK_SECTOR);
}
