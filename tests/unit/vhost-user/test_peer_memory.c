/* Which regions are accepted, how they are found, and what happens when a page goes away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost-user/peer_memory.h"

#define PAGE 4096ull
#define FILE_SIZE (16 * PAGE)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct fixture {
	struct peer_memory pm;
	int fd;
};

static int memfd(int seals)
{
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(peer_memory_init(&f->pm, false), 0);
	f->fd = memfd(SEALS);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	peer_memory_fini(&f->pm);
	close(f->fd);
	free(f);
	return 0;
}

static enum vhost_fault add(struct fixture *f, uint64_t gpa, uint64_t size, uint64_t user,
			    uint64_t offset)
{
	struct vhost_msg_region region = { gpa, size, user, offset };

	return peer_memory_add(&f->pm, &region, f->fd);
}

static void *translate(struct fixture *f, uint64_t gpa, uint64_t *len)
{
	struct dma_window window = {0};

	return dma_translate(&f->pm.dma, &window, gpa, len, DMA_READ | DMA_WRITE);
}

static void addresses_are_translated(void **state)
{
	struct fixture *f = *state;
	uint64_t len = 100 * PAGE;
	uint8_t byte = 0;
	uint8_t *p;
	gpa_t gpa;

	assert_int_equal(add(f, 0x10000, 2 * PAGE, 0x7000000, 3 * PAGE), VHOST_FAULT_NONE);
	assert_int_equal(add(f, 0x80000, PAGE, 0x9000000, 0), VHOST_FAULT_NONE);
	p = translate(f, 0x10005, &len);
	assert_non_null(p);
	assert_int_equal(len, 2 * PAGE - 5);
	*p = 0xaa;
	assert_int_equal(pread(f->fd, &byte, 1, 3 * PAGE + 5), 1);
	assert_int_equal(byte, 0xaa);
	assert_ptr_equal(peer_memory_user_ptr(&f->pm, 0x7000005, 10, &gpa), p);
	assert_int_equal(gpa, 0x10005);
	len = 1;
	assert_null(translate(f, 0x12000, &len));
	assert_null(translate(f, 0xffff, &len));
	assert_int_equal(f->pm.lookup_misses, 2);
	assert_non_null(peer_memory_user_ptr(&f->pm, 0x7000000, 2 * PAGE, NULL));
	assert_null(peer_memory_user_ptr(&f->pm, 0x7000000, 2 * PAGE + 1, NULL));
	assert_null(peer_memory_user_ptr(&f->pm, 0x7000001, UINT64_MAX, NULL));
	assert_null(peer_memory_user_ptr(&f->pm, 0x6ffffff, 2, NULL));
}

/* Files are sparse, addresses are not: what one peer maps leaves room for the others. */
static void address_space_is_shared_out(void **state)
{
	struct fixture *f = *state;
	const uint64_t own = PEER_MEMORY_OWN, pool = PEER_MEMORY_POOL;
	struct peer_memory greedy;
	struct vhost_msg_region most = { 0, own + pool, 0, 0 }, more = { 1ull << 60, PAGE, 0, 0 };
	struct vhost_msg_region whole = { 0, own, 0, 0 };
	int big = memfd_create("sparse", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(big, (off_t)(own + pool + PAGE)), 0);
	assert_int_equal(fcntl(big, F_ADD_SEALS, SEALS), 0);
	assert_int_equal(peer_memory_init(&greedy, false), 0);
	most.size += PAGE;
	assert_int_equal(peer_memory_add(&greedy, &most, big), VHOST_FAULT_MEM_SPACE);
	most.size -= PAGE;
	for (unsigned int turn = 0; turn < 2; turn++) {
		assert_int_equal(peer_memory_add(&greedy, &most, big), VHOST_FAULT_NONE);
		assert_int_equal(peer_memory_add(&greedy, &more, big), VHOST_FAULT_MEM_SPACE);
		assert_int_equal(peer_memory_add(&f->pm, &whole, big), VHOST_FAULT_NONE);
		assert_int_equal(peer_memory_add(&f->pm, &more, big), VHOST_FAULT_MEM_SPACE);
		assert_int_equal(peer_memory_remove(&f->pm, &whole), VHOST_FAULT_NONE);
		peer_memory_clear(&greedy);
	}
	peer_memory_fini(&greedy);
	close(big);
}

static void places_are_checked(void **state)
{
	struct fixture *f = *state;
	static const struct {
		struct vhost_msg_region region;
		enum vhost_fault fault;
	} bad[] = {
		{ { 0, 0, 0, 0 }, VHOST_FAULT_MEM_ALIGN },
		{ { 1, PAGE, 0, 0 }, VHOST_FAULT_MEM_ALIGN },
		{ { 0, PAGE + 1, 0, 0 }, VHOST_FAULT_MEM_ALIGN },
		{ { 0, PAGE, 1, 0 }, VHOST_FAULT_MEM_ALIGN },
		{ { 0, PAGE, 0, 1 }, VHOST_FAULT_MEM_ALIGN },
		{ { -PAGE, 2 * PAGE, 0, 0 }, VHOST_FAULT_MEM_WRAP },
		{ { 0, 2 * PAGE, -PAGE, 0 }, VHOST_FAULT_MEM_WRAP },
		{ { 0, 2 * PAGE, 0, -PAGE }, VHOST_FAULT_MEM_WRAP },
		{ { 0, -PAGE, 0, PAGE }, VHOST_FAULT_MEM_WRAP },
		{ { 0, PAGE, 0, FILE_SIZE }, VHOST_FAULT_MEM_FD_SIZE },
		{ { 0, FILE_SIZE, 0, PAGE }, VHOST_FAULT_MEM_FD_SIZE },
		{ { 1ull << 62, 1ull << 62, 0, 0 }, VHOST_FAULT_MEM_FD_SIZE },
		{ { 0x10000, PAGE, 0, 0 }, VHOST_FAULT_MEM_OVERLAP },
		{ { 0xf000, 2 * PAGE, 0, 0 }, VHOST_FAULT_MEM_OVERLAP },
		{ { 0x11000, 2 * PAGE, 0, 0 }, VHOST_FAULT_MEM_OVERLAP },
		{ { 0, 16 * FILE_SIZE, 0, 0 }, VHOST_FAULT_MEM_OVERLAP },
	};

	assert_int_equal(add(f, 0x10000, 2 * PAGE, 0, 0), VHOST_FAULT_NONE);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_string_equal(vhost_fault_name(peer_memory_add(&f->pm, &bad[i].region, f->fd)),
				    vhost_fault_name(bad[i].fault));
	assert_int_equal(f->pm.count, 1);
}

static void there_is_a_limit(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < PEER_MEMORY_MAX_REGIONS; i++)
		assert_int_equal(add(f, i * PAGE, PAGE, i * PAGE, 0), VHOST_FAULT_NONE);
	assert_int_equal(add(f, 1ull << 40, PAGE, 0, 0), VHOST_FAULT_MEM_COUNT);
}

static enum vhost_fault add_fd(struct fixture *f, int fd)
{
	struct vhost_msg_region region = { 0, PAGE, 0, 0 };
	enum vhost_fault fault = peer_memory_add(&f->pm, &region, fd);

	close(fd);
	return fault;
}

static void only_sealed_memory_files_are_accepted(void **state)
{
	struct fixture *f = *state;
	char path[] = "/var/tmp/peer-memory-XXXXXX";
	int pipes[2];
	int fd;

	assert_int_equal(add_fd(f, open("/dev/null", O_RDWR)), VHOST_FAULT_MEM_FD_TYPE);
	assert_int_equal(add_fd(f, open("/dev/zero", O_RDWR)), VHOST_FAULT_MEM_FD_TYPE);
	assert_int_equal(add_fd(f, open("/proc/self/maps", O_RDONLY)), VHOST_FAULT_MEM_FD_TYPE);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(add_fd(f, pipes[0]), VHOST_FAULT_MEM_FD_TYPE);
	assert_int_equal(add_fd(f, pipes[1]), VHOST_FAULT_MEM_FD_TYPE);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	assert_true(add_fd(f, fd) == VHOST_FAULT_MEM_FD_TYPE);
	assert_int_equal(add_fd(f, memfd(0)), VHOST_FAULT_MEM_FD_SEALS);
	assert_int_equal(add_fd(f, memfd(F_SEAL_GROW)), VHOST_FAULT_MEM_FD_SEALS);
	assert_int_equal(add_fd(f, memfd(F_SEAL_SHRINK | F_SEAL_WRITE)), VHOST_FAULT_MEM_MAP);
	assert_int_equal(f->pm.count, 0);
	assert_int_equal(add_fd(f, memfd(F_SEAL_SHRINK)), VHOST_FAULT_NONE);
}

static void the_seal_can_be_waived(void **state)
{
	struct peer_memory pm;
	struct vhost_msg_region region = { 0, PAGE, 0, 0 };
	int fd = memfd(0);

	assert_int_equal(peer_memory_init(&pm, true), 0);
	assert_int_equal(peer_memory_add(&pm, &region, fd), VHOST_FAULT_NONE);
	peer_memory_fini(&pm);
	close(fd);
}

static void a_table_is_replaced_as_a_whole(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg_memory table = { .count = 2 };
	int fds[2] = { f->fd, f->fd };
	uint32_t generation = f->pm.dma.generation;
	uint64_t len = 1;

	table.regions[0] = (struct vhost_msg_region){ 0, PAGE, 0, 0 };
	table.regions[1] = (struct vhost_msg_region){ PAGE, PAGE, PAGE, 0 };
	assert_int_equal(peer_memory_set_table(&f->pm, &table, fds), VHOST_FAULT_NONE);
	assert_int_not_equal(f->pm.dma.generation, generation);
	assert_non_null(translate(f, PAGE, &len));
	/* The second is bad: none is left, not even of the former table. */
	table.regions[0].gpa = 1ull << 32;
	table.regions[1].gpa = 1ull << 32;
	assert_int_equal(peer_memory_set_table(&f->pm, &table, fds), VHOST_FAULT_MEM_OVERLAP);
	assert_int_equal(f->pm.count, 0);
	assert_null(translate(f, PAGE, &len));
	assert_null(translate(f, 1ull << 32, &len));
}

static void a_region_is_removed_by_all_its_numbers(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg_region region = { PAGE, PAGE, 7 * PAGE, 0 };
	struct dma_window window = {0};
	uint64_t len = 1;

	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(add(f, i * PAGE, PAGE, (6 + i) * PAGE, 0), VHOST_FAULT_NONE);
	assert_non_null(dma_translate(&f->pm.dma, &window, PAGE, &len, DMA_READ));
	region.user++;
	assert_int_equal(peer_memory_remove(&f->pm, &region), VHOST_FAULT_MEM_UNKNOWN);
	region.user--;
	region.gpa += PAGE;
	assert_int_equal(peer_memory_remove(&f->pm, &region), VHOST_FAULT_MEM_UNKNOWN);
	region.gpa -= PAGE;
	region.size += PAGE;
	assert_int_equal(peer_memory_remove(&f->pm, &region), VHOST_FAULT_MEM_UNKNOWN);
	region.size -= PAGE;
	assert_int_equal(peer_memory_remove(&f->pm, &region), VHOST_FAULT_NONE);
	assert_int_equal(peer_memory_remove(&f->pm, &region), VHOST_FAULT_MEM_UNKNOWN);
	/* The window kept from before is of no use any more. */
	assert_null(dma_translate(&f->pm.dma, &window, PAGE, &len, DMA_READ));
	assert_non_null(dma_translate(&f->pm.dma, &window, 0, &len, DMA_READ));
	assert_non_null(dma_translate(&f->pm.dma, &window, 2 * PAGE, &len, DMA_READ));
}

static void rings_lie_within_one_region(void **state)
{
	struct fixture *f = *state;
	struct vring_addrs addrs = { 0, 0x800, 0xc00 };
	struct vring_parts parts;
	gpa_t used;

	assert_int_equal(add(f, 1ull << 32, PAGE, 0, 0), VHOST_FAULT_NONE);
	assert_int_equal(add(f, 1ull << 33, PAGE, PAGE, 8 * PAGE), VHOST_FAULT_NONE);
	assert_int_equal(peer_memory_ring(&f->pm, 64, &addrs, &parts, &used), VHOST_FAULT_NONE);
	assert_int_equal(used, (1ull << 32) + 0xc00);
	addrs.used = 0xffc;
	assert_int_equal(peer_memory_ring(&f->pm, 64, &addrs, &parts, &used),
			 VHOST_FAULT_RING_ADDRESS);
	addrs.used = 0xc02;
	assert_int_equal(peer_memory_ring(&f->pm, 64, &addrs, &parts, &used),
			 VHOST_FAULT_RING_ALIGN);
	assert_int_equal(peer_memory_ring(&f->pm, 63, &addrs, &parts, &used),
			 VHOST_FAULT_RING_SIZE);
}

/* A punched hole is filled again by tmpfs; a truncated file raises SIGBUS. */
static void a_lost_page_is_a_fault_of_its_peer_alone(void **state)
{
	struct fixture *f = *state;
	struct peer_memory victim;
	struct vhost_msg_region region = { 0, 4 * PAGE, 0, 0 };
	struct dma_window window = {0};
	uint64_t len = 1, count;
	int fd = memfd(0);
	volatile uint8_t *p;

	/* Not in setup: cmocka has handlers of its own in every test. */
	assert_int_equal(peer_memory_install_handler(), 0);
	assert_int_equal(peer_memory_init(&victim, true), 0);
	assert_int_equal(peer_memory_add(&victim, &region, fd), VHOST_FAULT_NONE);
	assert_int_equal(add(f, 0, 4 * PAGE, 0, 0), VHOST_FAULT_NONE);
	p = dma_translate(&victim.dma, &window, 2 * PAGE, &len, DMA_WRITE);
	assert_non_null(p);
	*p = 1;
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, FILE_SIZE), 0);
	assert_int_equal(*p, 0);
	assert_int_equal(peer_memory_fault(&victim), VHOST_FAULT_NONE);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	*p = 7; /* goes on, in memory nobody shares */
	assert_int_equal(*p, 7);
	assert_int_equal(peer_memory_fault(&victim), VHOST_FAULT_MEM_GONE);
	assert_int_equal(read(victim.fault_fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(peer_memory_fault(&f->pm), VHOST_FAULT_NONE);
	assert_int_equal(read(f->pm.fault_fd, &count, sizeof(count)), -1);
	peer_memory_clear(&victim);
	assert_int_equal(peer_memory_fault(&victim), VHOST_FAULT_NONE);
	peer_memory_fini(&victim);
	close(fd);
}

static void child_touches_lost_page_of_its_own(void)
{
	int fd = memfd(0);
	volatile uint8_t *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

	if (ftruncate(fd, 0) == 0)
		_exit(*p);
	_exit(3);
}

/* In a child, with the default action behind our handler. */
static int child_status(void (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGBUS, SIG_DFL);
		if (peer_memory_install_handler() == 0)
			fn();
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Bytes of private writable memory, as RLIMIT_DATA counts it. */
static uint64_t data_bytes(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "VmData: %llu kB", &kib) == 1)
			break;
	if (status)
		fclose(status);
	return kib * 1024;
}

/* A host that does not give as much memory as the region has: the pages that are touched must do. */
static void child_loses_more_than_the_host_has(void)
{
	const uint64_t size = 64 * MIB;
	struct vhost_msg_region region = { 0, size, 0, 0 };
	struct rlimit limit = { .rlim_max = RLIM_INFINITY };
	struct peer_memory pm;
	struct dma_window window = {0};
	uint64_t len = size;
	int fd = memfd(0);
	uint8_t *p;

	if (ftruncate(fd, (off_t)size) < 0 || peer_memory_init(&pm, true) < 0 ||
	    peer_memory_add(&pm, &region, fd) || ftruncate(fd, 0) < 0)
		_exit(4);
	p = dma_translate(&pm.dma, &window, 0, &len, DMA_WRITE);
	limit.rlim_cur = data_bytes() + 32 * PAGE;
	if (!p || setrlimit(RLIMIT_DATA, &limit) < 0)
		_exit(5);
	p[size / 2] = 1;
	p[size - 1] = 2;
	_exit(p[size / 2] == 1 && p[size - 1] == 2 &&
			      peer_memory_fault(&pm) == VHOST_FAULT_MEM_GONE ?
		      0 : 6);
}

static void child_is_sent_one(void)
{
	raise(SIGBUS);
	_exit(3);
}

static void any_other_lost_page_ends_the_process(void **state)
{
	int status = child_status(child_touches_lost_page_of_its_own);

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = child_status(child_is_sent_one);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void a_region_too_large_to_replace_is_replaced_by_pages(void **state)
{
	int status = child_status(child_loses_more_than_the_host_has);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(addresses_are_translated),
		T(address_space_is_shared_out),
		T(places_are_checked),
		T(there_is_a_limit),
		T(only_sealed_memory_files_are_accepted),
		T(the_seal_can_be_waived),
		T(a_table_is_replaced_as_a_whole),
		T(a_region_is_removed_by_all_its_numbers),
		T(rings_lie_within_one_region),
		T(a_lost_page_is_a_fault_of_its_peer_alone),
		T(any_other_lost_page_ends_the_process),
		T(a_region_too_large_to_replace_is_replaced_by_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
