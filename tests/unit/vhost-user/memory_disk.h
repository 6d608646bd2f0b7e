/*
 * A disk in memory that watches over its driver: a request beyond its end aborts (the device has
 * promised to check), requests are counted from kick to kick, and completion is at once or when told.
 */
#ifndef TESTS_MEMORY_DISK_H
#define TESTS_MEMORY_DISK_H

#include "core/block_backend.h"

#define MEMORY_DISK_SECTORS 64u
#define MEMORY_DISK_HELD 256u

struct memory_disk {
	struct block_backend be;
	uint8_t data[MEMORY_DISK_SECTORS * BLOCK_SECTOR]; /* each sector full of its number */
	bool deferred;
	int fail; /* < 0: what requests end with */
	void (*on_submit)(struct memory_disk *disk); /* may be NULL */
	struct block_request *held[MEMORY_DISK_HELD];
	unsigned int held_count;
	unsigned int submits, flushes, kicks;
	unsigned int in_this_pass, most_in_a_pass; /* requests between two kicks */
	bool destroyed;
};

void memory_disk_init(struct memory_disk *disk);
/* Completes what is held, the oldest first. */
void memory_disk_drain(struct block_backend *be);
/* From now on the youngest of those held goes first. */
void memory_disk_reverse(struct memory_disk *disk);
/* Completes the oldest `n` that are held. */
void memory_disk_complete(struct memory_disk *disk, unsigned int n);

#endif
