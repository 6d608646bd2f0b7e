#include "core/guest_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DIRTY_PAGE 4096u /* bytes a dirty bit stands for */

struct guest_slot {
	struct mem_slot slot;
	_Atomic uint64_t *bitmap; /* kept from the first log to the end: no reader loses it */
	size_t words;
};

struct guest_memory {
	struct guest_slot *slots[GUEST_MEMORY_MAX_SLOTS];
	unsigned int count;
	bool logging;
	TAILQ_HEAD(mem_listeners, mem_listener) listeners;
};

struct guest_memory *guest_memory_create(void)
{
	struct guest_memory *gm = calloc(1, sizeof(*gm));

	if (gm)
		TAILQ_INIT(&gm->listeners);
	return gm;
}

static void slot_free(struct guest_slot *gs)
{
	if (!gs)
		return;
	if (gs->slot.hva)
		munmap(gs->slot.hva, gs->slot.size);
	if (gs->slot.fd >= 0)
		close(gs->slot.fd);
	free((void *)gs->bitmap);
	free(gs);
}

void guest_memory_destroy(struct guest_memory *gm)
{
	struct mem_listener *listener;

	if (!gm)
		return;
	while ((listener = TAILQ_LAST(&gm->listeners, mem_listeners)))
		guest_memory_remove_listener(gm, listener);
	while (gm->count)
		slot_free(gm->slots[--gm->count]);
	free(gm);
}

/* One number of /sys/kernel/mm/hugepages/hugepages-<size>kB/<name>, or -1. */
static long hugepages_read(uint64_t page_size, const char *name)
{
	char path[128];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(page_size / KIB), name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

static void explain_shortage(const struct mem_slot_request *req, int err, char *why, size_t size)
{
	long have, total, need = (long)(req->size / req->page_size);

	if (req->page_size == 4 * KIB) {
		snprintf(why, size, "%llu MiB of guest memory: %s; give the host more memory or "
			 "the guest less", (unsigned long long)(req->size / MIB), strerror(-err));
		return;
	}
	have = hugepages_read(req->page_size, "free_hugepages");
	total = hugepages_read(req->page_size, "nr_hugepages");
	if (have < 0 || total < 0) {
		snprintf(why, size, "huge pages of %llu KiB: this host has none of that size; use "
			 "4K or another page size", (unsigned long long)(req->page_size / KIB));
		return;
	}
	have -= MAX(hugepages_read(req->page_size, "resv_hugepages"), 0);
	snprintf(why, size, "huge pages of %llu KiB: need %ld, have %ld free (%s); "
		 "echo %ld > /sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
		 (unsigned long long)(req->page_size / KIB), need, MAX(have, 0), strerror(-err),
		 total + MAX(need - have, 1), (unsigned long long)(req->page_size / KIB));
}

static int check_request(const struct guest_memory *gm, const struct mem_slot_request *req,
			 char *why, size_t size)
{
	if (req->page_size != 4 * KIB && req->page_size != 2 * MIB && req->page_size != GIB) {
		snprintf(why, size, "page size of %llu bytes: allowed are 4 KiB, 2 MiB and 1 GiB",
			 (unsigned long long)req->page_size);
		return -EINVAL;
	}
	if (!req->size || ((req->size | req->gpa) & (req->page_size - 1)) ||
	    req->gpa + (req->size - 1) < req->gpa || req->size > INT64_MAX - GIB) {
		snprintf(why, size, "memory of 0x%llx bytes at 0x%llx: both must be multiples of "
			 "the page size", (unsigned long long)req->size,
			 (unsigned long long)req->gpa);
		return -EINVAL;
	}
	if (gm->count == GUEST_MEMORY_MAX_SLOTS) {
		snprintf(why, size, "more than %u memory slots", GUEST_MEMORY_MAX_SLOTS);
		return -ENOSPC;
	}
	for (unsigned int i = 0; i < gm->count; i++) {
		const struct mem_slot *slot = &gm->slots[i]->slot;

		if (range_overlaps(req->gpa, req->size, slot->gpa, slot->size)) {
			snprintf(why, size, "memory at 0x%llx overlaps the slot at 0x%llx",
				 (unsigned long long)req->gpa, (unsigned long long)slot->gpa);
			return -EEXIST;
		}
	}
	return 0;
}

static int open_memfd(const struct mem_slot_request *req)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd, err;

	if (req->page_size == 2 * MIB)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	else if (req->page_size == GIB)
		flags |= MFD_HUGETLB | MFD_HUGE_1GB;
	fd = memfd_create(req->name ? req->name : "guest-memory", flags);
	if (fd < 0)
		return -errno;
	/* Peers accept nothing that could shrink under them. */
	if (ftruncate(fd, (off_t)req->size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/*
 * Maps fd at an address congruent to gpa modulo the largest page size that fits in the slot:
 * then a second-level mapping can be as large as the backing allows.
 */
static int map_aligned(struct mem_slot *slot)
{
	uint64_t align = slot->size >= GIB ? GIB : slot->size >= 2 * MIB ? 2 * MIB : 4 * KIB;
	uint64_t reserve = slot->size + align;
	uint64_t start, hva;
	int err;
	void *area = mmap(NULL, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	start = (uintptr_t)area;
	hva = ALIGN_DOWN(start, align) + (slot->gpa & (align - 1));
	if (hva < start)
		hva += align;
	if (mmap((void *)(uintptr_t)hva, slot->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 slot->fd, 0) == MAP_FAILED) {
		err = -errno;
		munmap(area, reserve);
		return err;
	}
	if (hva > start)
		munmap(area, hva - start);
	if (hva + slot->size < start + reserve)
		munmap((void *)(uintptr_t)(hva + slot->size),
		       start + reserve - (hva + slot->size));
	slot->hva = (uint8_t *)(uintptr_t)hva;
	/* A core file of ours is no place for the guest's secrets. */
	madvise(slot->hva, slot->size, MADV_DONTDUMP);
	return 0;
}

static int slot_enable_log(struct guest_slot *gs)
{
	if (!gs->bitmap) {
		gs->words = ALIGN_UP(gs->slot.size / DIRTY_PAGE, 64) / 64;
		gs->bitmap = calloc(gs->words, sizeof(*gs->bitmap));
		if (!gs->bitmap)
			return -ENOMEM;
	}
	for (size_t i = 0; i < gs->words; i++)
		atomic_store_explicit(&gs->bitmap[i], 0, memory_order_relaxed);
	__atomic_store_n(&gs->slot.dirty, gs->bitmap, __ATOMIC_RELEASE);
	return 0;
}

static int slot_announce(struct guest_memory *gm, const struct mem_slot *slot)
{
	struct mem_listener *listener;
	int err;

	TAILQ_FOREACH(listener, &gm->listeners, link) {
		err = listener->add(listener, slot);
		if (!err)
			continue;
		while ((listener = TAILQ_PREV(listener, mem_listeners, link)))
			listener->remove(listener, slot);
		return err;
	}
	return 0;
}

static int slot_create(const struct mem_slot_request *req, struct guest_slot **out, char *why,
		       size_t why_size)
{
	struct guest_slot *gs = calloc(1, sizeof(*gs));
	int err;

	if (!gs) {
		snprintf(why, why_size, "out of memory for a slot of guest memory");
		return -ENOMEM;
	}
	gs->slot = (struct mem_slot){ .gpa = req->gpa, .size = req->size,
				      .page_size = req->page_size, .fd = -1 };
	err = open_memfd(req);
	if (err >= 0) {
		gs->slot.fd = err;
		err = map_aligned(&gs->slot);
	}
	if (!err && req->prefault && madvise(gs->slot.hva, req->size, MADV_POPULATE_WRITE) < 0)
		err = errno == EFAULT ? -ENOMEM : -errno;
	if (err) {
		explain_shortage(req, err, why, why_size);
		slot_free(gs);
		return err;
	}
	*out = gs;
	return 0;
}

int guest_memory_add_slot(struct guest_memory *gm, const struct mem_slot_request *req, char *why,
			  size_t why_size)
{
	struct guest_slot *gs;
	int err = check_request(gm, req, why, why_size);

	if (!err)
		err = slot_create(req, &gs, why, why_size);
	if (err)
		return err;
	gs->slot.id = gm->count;
	err = gm->logging ? slot_enable_log(gs) : 0;
	if (!err)
		err = slot_announce(gm, &gs->slot);
	if (err) {
		snprintf(why, why_size, "memory at 0x%llx could not be made known: %s",
			 (unsigned long long)req->gpa, strerror(-err));
		slot_free(gs);
		return err;
	}
	gm->slots[gm->count++] = gs;
	return 0;
}

int guest_memory_add_listener(struct guest_memory *gm, struct mem_listener *listener)
{
	for (unsigned int i = 0; i < gm->count; i++) {
		int err = listener->add(listener, &gm->slots[i]->slot);

		if (!err)
			continue;
		while (i--)
			listener->remove(listener, &gm->slots[i]->slot);
		return err;
	}
	TAILQ_INSERT_TAIL(&gm->listeners, listener, link);
	if (gm->logging && listener->log)
		listener->log(listener, true);
	return 0;
}

void guest_memory_remove_listener(struct guest_memory *gm, struct mem_listener *listener)
{
	TAILQ_REMOVE(&gm->listeners, listener, link);
	for (unsigned int i = gm->count; i--;)
		listener->remove(listener, &gm->slots[i]->slot);
}

unsigned int guest_memory_slot_count(const struct guest_memory *gm)
{
	return gm->count;
}

const struct mem_slot *guest_memory_slot(const struct guest_memory *gm, unsigned int index)
{
	return index < gm->count ? &gm->slots[index]->slot : NULL;
}

uint64_t guest_memory_total(const struct guest_memory *gm)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < gm->count; i++)
		total += gm->slots[i]->slot.size;
	return total;
}

const struct mem_slot *guest_memory_find(const struct guest_memory *gm, gpa_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < gm->count; i++) {
		const struct mem_slot *slot = &gm->slots[i]->slot;

		if (gpa >= slot->gpa && gpa - slot->gpa < slot->size)
			return range_within(gpa - slot->gpa, len, slot->size) ? slot : NULL;
	}
	return NULL;
}

void *guest_memory_ptr(const struct guest_memory *gm, gpa_t gpa, uint64_t len)
{
	const struct mem_slot *slot = guest_memory_find(gm, gpa, len);

	return slot ? slot->hva + (gpa - slot->gpa) : NULL;
}

/* The piece of [gpa, gpa + len) that the first slot holds; its length in *got. */
static uint8_t *piece_at(const struct guest_memory *gm, gpa_t gpa, uint64_t len, uint64_t *got)
{
	const struct mem_slot *slot = guest_memory_find(gm, gpa, 1);

	if (!slot)
		return NULL;
	*got = MIN(len, slot->size - (gpa - slot->gpa));
	return slot->hva + (gpa - slot->gpa);
}

static bool range_is_ram(const struct guest_memory *gm, gpa_t gpa, uint64_t len)
{
	uint64_t got;

	if (len && gpa + (len - 1) < gpa)
		return false;
	for (; len; gpa += got, len -= got)
		if (!piece_at(gm, gpa, len, &got))
			return false;
	return true;
}

int guest_memory_read(const struct guest_memory *gm, gpa_t gpa, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	uint64_t got;

	if (!range_is_ram(gm, gpa, len))
		return -EFAULT;
	for (; len; gpa += got, to += got, len -= got) {
		const uint8_t *from = piece_at(gm, gpa, len, &got);

		if (!from)
			return -EFAULT;
		memcpy(to, from, got);
	}
	return 0;
}

int guest_memory_write(struct guest_memory *gm, gpa_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *from = buf;
	uint64_t got;

	if (!range_is_ram(gm, gpa, len))
		return -EFAULT;
	for (; len; gpa += got, from += got, len -= got) {
		uint8_t *to = piece_at(gm, gpa, len, &got);

		if (!to)
			return -EFAULT;
		memcpy(to, from, got);
		guest_memory_dirtied(gm, gpa, got);
	}
	return 0;
}

static void slot_dirtied(const struct mem_slot *slot, uint64_t off, uint64_t len)
{
	_Atomic uint64_t *dirty = __atomic_load_n(&slot->dirty, __ATOMIC_ACQUIRE);

	if (!dirty)
		return;
	for (uint64_t page = off / DIRTY_PAGE; page <= (off + len - 1) / DIRTY_PAGE; page++)
		atomic_fetch_or_explicit(&dirty[page / 64], 1ULL << (page % 64),
					 memory_order_release);
}

void guest_memory_dirtied(const struct guest_memory *gm, gpa_t gpa, uint64_t len)
{
	while (len) {
		const struct mem_slot *slot = guest_memory_find(gm, gpa, 1);
		uint64_t got;

		if (!slot)
			return;
		got = MIN(len, slot->size - (gpa - slot->gpa));
		slot_dirtied(slot, gpa - slot->gpa, got);
		gpa += got;
		len -= got;
	}
}

static void tell_log(struct guest_memory *gm, bool on)
{
	struct mem_listener *listener;

	TAILQ_FOREACH(listener, &gm->listeners, link)
		if (listener->log)
			listener->log(listener, on);
}

int guest_memory_log_start(struct guest_memory *gm)
{
	if (gm->logging)
		return -EALREADY;
	for (unsigned int i = 0; i < gm->count; i++) {
		if (!slot_enable_log(gm->slots[i]))
			continue;
		while (i--)
			__atomic_store_n(&gm->slots[i]->slot.dirty, NULL, __ATOMIC_RELEASE);
		return -ENOMEM;
	}
	gm->logging = true;
	tell_log(gm, true);
	return 0;
}

void guest_memory_log_stop(struct guest_memory *gm)
{
	if (!gm->logging)
		return;
	gm->logging = false;
	tell_log(gm, false);
	for (unsigned int i = 0; i < gm->count; i++)
		__atomic_store_n(&gm->slots[i]->slot.dirty, NULL, __ATOMIC_RELEASE);
}

int guest_memory_log_fetch(struct guest_memory *gm, const struct mem_slot *slot, uint64_t *bitmap,
			   size_t words)
{
	struct guest_slot *gs;

	if (slot->id >= gm->count)
		return -EINVAL;
	gs = gm->slots[slot->id];
	if (!gm->logging || words != gs->words)
		return -EINVAL;
	for (size_t i = 0; i < words; i++)
		bitmap[i] = atomic_exchange_explicit(&gs->bitmap[i], 0, memory_order_acquire);
	return 0;
}
