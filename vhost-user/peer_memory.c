#include "vhost-user/peer_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vhost-user/peer_sigbus.h"

/* Data threads. */
static bool peer_lookup(struct dma *dma, uint64_t addr, unsigned int perm,
			struct dma_window *window)
{
	struct peer_memory *pm = container_of(dma, struct peer_memory, dma);
	uint32_t generation = atomic_load_explicit(&dma->generation, memory_order_acquire);
	uint32_t count = atomic_load_explicit(&pm->count, memory_order_acquire);

	for (uint32_t i = 0; i < count; i++) {
		const struct peer_region *r = &pm->regions[i];

		if (addr - r->gpa >= r->size)
			continue;
		*window = (struct dma_window){
			.start = r->gpa,
			.size = r->size,
			.hva = r->hva,
			.perm = DMA_READ | DMA_WRITE,
			.generation = generation,
		};
		return true;
	}
	atomic_fetch_add_explicit(&pm->lookup_misses, 1, memory_order_relaxed);
	return false;
}

/* No `dirtied`: LOG_ALL is not offered to peers, so nothing ever sets dma.logging. */
static const struct dma_ops peer_dma_ops = { .lookup = peer_lookup };

int peer_memory_install_handler(void)
{
	return peer_sigbus_install();
}

int peer_memory_init(struct peer_memory *pm, bool allow_unsealed)
{
	memset(pm, 0, sizeof(*pm));
	pm->dma.ops = &peer_dma_ops;
	pm->allow_unsealed = allow_unsealed;
	pm->fault_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return pm->fault_fd < 0 ? -errno : 0;
}

static uint64_t pool_used; /* of PEER_MEMORY_POOL, by all peers */

static uint64_t beyond_own(uint64_t mapped)
{
	return mapped > PEER_MEMORY_OWN ? mapped - PEER_MEMORY_OWN : 0;
}

/* False: there is no more address space for this peer. */
static bool space_take(struct peer_memory *pm, uint64_t bytes)
{
	uint64_t more;

	if (bytes > PEER_MEMORY_OWN + PEER_MEMORY_POOL)
		return false;
	more = beyond_own(pm->mapped + bytes) - beyond_own(pm->mapped);
	if (more > PEER_MEMORY_POOL - pool_used)
		return false;
	pool_used += more;
	pm->mapped += bytes;
	return true;
}

static void space_give(struct peer_memory *pm, uint64_t bytes)
{
	pool_used -= beyond_own(pm->mapped) - beyond_own(pm->mapped - bytes);
	pm->mapped -= bytes;
}

static void region_unmap(struct peer_memory *pm, struct peer_region *r)
{
	peer_sigbus_leave(r->slot);
	space_give(pm, r->map_size);
	if (r->map_size >= PEER_MEMORY_LARGE && pm->departed_count < PEER_MEMORY_MAX_DEPARTED)
		pm->departed[pm->departed_count++] = (struct peer_mapping){ r->map, r->map_size };
	else
		munmap(r->map, r->map_size);
}

unsigned int peer_memory_take_departed(struct peer_memory *pm, struct peer_mapping *departed)
{
	unsigned int count = pm->departed_count;

	memcpy(departed, pm->departed, count * sizeof(*departed));
	pm->departed_count = 0;
	return count;
}

static void forget_regions(struct peer_memory *pm)
{
	uint32_t count = atomic_load_explicit(&pm->count, memory_order_relaxed);

	atomic_store_explicit(&pm->count, 0, memory_order_release);
	atomic_fetch_add_explicit(&pm->dma.generation, 1, memory_order_release);
	for (uint32_t i = 0; i < count; i++)
		region_unmap(pm, &pm->regions[i]);
}

void peer_memory_clear(struct peer_memory *pm)
{
	uint64_t count;
	ssize_t n;

	forget_regions(pm);
	n = read(pm->fault_fd, &count, sizeof(count));
	(void)n;
	atomic_store_explicit(&pm->fault, VHOST_FAULT_NONE, memory_order_release);
}

void peer_memory_fini(struct peer_memory *pm)
{
	forget_regions(pm);
	for (unsigned int i = 0; i < pm->departed_count; i++)
		munmap(pm->departed[i].at, pm->departed[i].bytes);
	close(pm->fault_fd);
}

static enum vhost_fault check_place(const struct peer_memory *pm,
				    const struct vhost_msg_region *region)
{
	uint32_t count = atomic_load_explicit(&pm->count, memory_order_relaxed);

	if (count == PEER_MEMORY_MAX_REGIONS)
		return VHOST_FAULT_MEM_COUNT;
	if (!region->size ||
	    (region->gpa | region->user | region->size | region->mmap_offset) %
		    PEER_MEMORY_PAGE)
		return VHOST_FAULT_MEM_ALIGN;
	/* The last byte of the 64-bit space is left out too; file offsets have 63 bits. */
	if (region->gpa + region->size < region->gpa || region->user + region->size < region->user ||
	    region->mmap_offset > INT64_MAX || region->size > INT64_MAX - region->mmap_offset)
		return VHOST_FAULT_MEM_WRAP;
	/* User addresses may overlap: a front end may show one piece of RAM at two places. */
	for (uint32_t i = 0; i < count; i++)
		if (range_overlaps(region->gpa, region->size, pm->regions[i].gpa,
				   pm->regions[i].size))
			return VHOST_FAULT_MEM_OVERLAP;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault check_fd(const struct peer_memory *pm,
				 const struct vhost_msg_region *region, int fd, uint64_t *page)
{
	/* First: even fstatfs asks a file system that may be the peer's own. */
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	if (seals < 0 || fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
		return VHOST_FAULT_MEM_FD_TYPE;
	if (!pm->allow_unsealed && !(seals & F_SEAL_SHRINK))
		return VHOST_FAULT_MEM_FD_SEALS;
	/* After the seal was seen: from now on the file does not get shorter. */
	if (fstat(fd, &st) < 0 ||
	    !range_within(region->mmap_offset, region->size, (uint64_t)st.st_size))
		return VHOST_FAULT_MEM_FD_SIZE;
	*page = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : PEER_MEMORY_PAGE;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault region_map(struct peer_memory *pm, struct peer_region *r,
				   const struct vhost_msg_region *region, int fd, uint64_t page)
{
	uint64_t start = ALIGN_DOWN(region->mmap_offset, page);

	r->gpa = region->gpa;
	r->user = region->user;
	r->size = region->size;
	r->map_size = ALIGN_UP(region->mmap_offset + region->size, page) - start;
	if (!space_take(pm, r->map_size))
		return VHOST_FAULT_MEM_SPACE;
	/* No reservation: huge pages are the peer's to reserve, and a lack of them is contained. */
	r->map = mmap(NULL, r->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		      (off_t)start);
	if (r->map == MAP_FAILED) {
		space_give(pm, r->map_size);
		return VHOST_FAULT_MEM_MAP;
	}
	/* Guest memory does not belong in the switch's core dump. */
	madvise(r->map, r->map_size, MADV_DONTDUMP);
	r->hva = (uint8_t *)r->map + (region->mmap_offset - start);
	r->slot = peer_sigbus_enter(r->map, r->map_size, page, &pm->fault, VHOST_FAULT_MEM_GONE,
				    pm->fault_fd);
	if (r->slot < 0) {
		munmap(r->map, r->map_size);
		space_give(pm, r->map_size);
		return VHOST_FAULT_NO_MEMORY;
	}
	return VHOST_FAULT_NONE;
}

enum vhost_fault peer_memory_add(struct peer_memory *pm, const struct vhost_msg_region *region,
				 int fd)
{
	uint32_t count = atomic_load_explicit(&pm->count, memory_order_relaxed);
	enum vhost_fault fault = check_place(pm, region);
	uint64_t page;

	if (!fault)
		fault = check_fd(pm, region, fd, &page);
	if (!fault)
		fault = region_map(pm, &pm->regions[count], region, fd, page);
	if (fault)
		return fault;
	/* Only now can a data thread find it. Windows that exist stay right. */
	atomic_store_explicit(&pm->count, count + 1, memory_order_release);
	return VHOST_FAULT_NONE;
}

enum vhost_fault peer_memory_set_table(struct peer_memory *pm, const struct vhost_msg_memory *table,
				       const int *fds)
{
	enum vhost_fault fault = VHOST_FAULT_NONE;

	forget_regions(pm);
	if (table->count > VHOST_MSG_MAX_REGIONS)
		return VHOST_FAULT_MEM_COUNT;
	for (uint32_t i = 0; i < table->count && !fault; i++)
		fault = peer_memory_add(pm, &table->regions[i], fds[i]);
	if (fault)
		forget_regions(pm);
	return fault;
}

enum vhost_fault peer_memory_remove(struct peer_memory *pm, const struct vhost_msg_region *region)
{
	uint32_t count = atomic_load_explicit(&pm->count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++) {
		struct peer_region *r = &pm->regions[i];

		if (r->gpa != region->gpa || r->user != region->user || r->size != region->size)
			continue;
		region_unmap(pm, r);
		*r = pm->regions[count - 1];
		atomic_store_explicit(&pm->count, count - 1, memory_order_release);
		atomic_fetch_add_explicit(&pm->dma.generation, 1, memory_order_release);
		return VHOST_FAULT_NONE;
	}
	return VHOST_FAULT_MEM_UNKNOWN;
}

void *peer_memory_user_ptr(const struct peer_memory *pm, uint64_t user, uint64_t len, gpa_t *gpa)
{
	uint32_t count = atomic_load_explicit(&pm->count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++) {
		const struct peer_region *r = &pm->regions[i];

		if (!range_within(user - r->user, len, r->size))
			continue;
		if (gpa)
			*gpa = r->gpa + (user - r->user);
		return r->hva + (user - r->user);
	}
	return NULL;
}

enum vhost_fault peer_memory_ring(const struct peer_memory *pm, uint32_t size,
				  const struct vring_addrs *addrs, struct vring_parts *parts,
				  gpa_t *used_gpa)
{
	enum vhost_fault fault = vring_check(size, addrs);

	if (fault)
		return fault;
	parts->desc = peer_memory_user_ptr(pm, addrs->desc, vring_desc_bytes(size), NULL);
	parts->avail = peer_memory_user_ptr(pm, addrs->avail, vring_avail_bytes(size), NULL);
	parts->used = peer_memory_user_ptr(pm, addrs->used, vring_used_bytes(size), used_gpa);
	if (!parts->desc || !parts->avail || !parts->used)
		return VHOST_FAULT_RING_ADDRESS;
	return VHOST_FAULT_NONE;
}
