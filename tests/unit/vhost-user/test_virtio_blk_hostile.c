/*
 * A driver that means harm, on virtio-blk: rings that run away, loop, lie outside memory or change
 * while they are read, requests beyond all bounds, resets with everything in flight. After each case
 * the device is reset and serves an honest request.
 */
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/fakes/oracle.h"
#include "tests/unit/vhost-user/memory_disk.h"
#include "tests/unit/vhost-user/virtio_rig.h"
#include "vhost-user/virtio_blk.h"

#define NEIGHBOUR 0xd0000000ULL
#define FEATURES                                                                         \
	(1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_BLK_F_FLUSH |                       \
	 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX)
#define SIZE 32u
#define RING_CALLS 8u /* of the hypervisor, that a pass over the ring may make */

struct fixture {
	struct virtio_rig rig;
	struct memory_disk disk;
	struct oracle oracle;
	struct vring_driver vd; /* the ring's memory; the hostile driver writes its parts itself */
	gpa_t header, data, table, status;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_blk_params params = { .id = "disk0", .backend = &f->disk.be };
	struct pci_device *pci;

	virtio_rig_init(&f->rig);
	memory_disk_init(&f->disk);
	params.loop = f->rig.loop;
	params.hv = &f->rig.hv.hv;
	params.dma = dma_space_dma(f->rig.space);
	assert_int_equal(virtio_blk_create(&params, &pci), 0);
	virtio_rig_plug(&f->rig, pci);
	oracle_init(&f->oracle, f->rig.memory, &f->rig.hv);
	oracle_neighbour_join(&f->oracle, f->rig.bus, f->rig.mmio, PCI_DEVFN_OF(7, 0), NEIGHBOUR);
	f->header = virtio_rig_alloc(&f->rig, 4096, 4096);
	f->data = virtio_rig_alloc(&f->rig, 8192, 4096);
	f->table = virtio_rig_alloc(&f->rig, 8192, 4096);
	f->status = virtio_rig_alloc(&f->rig, 4096, 4096);
	*state = f;
	return 0;
}

/* From power-on to a running ring. */
static void start(struct fixture *f)
{
	virtio_rig_plug_again(&f->rig);
	virtio_rig_msix_on(&f->rig);
	assert_true(virtio_rig_negotiate(&f->rig, FEATURES));
	vring_driver_fini(&f->vd);
	f->rig.next_free = ALIGN_UP(f->status + 4096, 4096);
	virtio_rig_queue(&f->rig, 0, SIZE, 1, FEATURES, &f->vd);
	virtio_rig_driver_ok(&f->rig);
	virtio_rig_settle(&f->rig);
}

static void put_desc(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	*d = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

/* A request as it should be, at descriptors 0 to 2. */
static void put_request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	uint16_t way = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
	struct vring_desc *d = f->vd.parts.desc;

	memcpy(virtio_rig_ptr(&f->rig, f->header), &hdr, sizeof(hdr));
	put_desc(&d[0], f->header, sizeof(hdr), VRING_DESC_F_NEXT, 1);
	put_desc(&d[1], f->data, len, VRING_DESC_F_NEXT | way, 2);
	put_desc(&d[2], f->status, 1, VRING_DESC_F_WRITE, 0);
}

/* Makes `heads` available, n of them, and has the device look, under the oracle's eyes. */
static void offer_under(struct fixture *f, const uint16_t *heads, unsigned int n,
			unsigned int calls)
{
	struct vring_avail *avail = f->vd.parts.avail;

	for (unsigned int i = 0; i < n; i++)
		avail->ring[(avail->idx + i) % SIZE] = heads[i];
	avail->idx += (uint16_t)n;
	oracle_look(&f->oracle);
	oracle_allow_ring(&f->oracle, SIZE, f->vd.addrs.desc, f->vd.addrs.used);
	oracle_begin(&f->oracle);
	f->disk.most_in_a_pass = f->disk.in_this_pass = 0;
	fake_hypervisor_io_write(&f->rig.hv, false, RIG_REGISTERS + f->rig.notify_off, 2, 0);
	virtio_rig_settle(&f->rig);
	oracle_end(&f->oracle, calls);
	oracle_check_memory(&f->oracle);
	assert_true(f->disk.most_in_a_pass <= SIZE);
}

static void offer(struct fixture *f, const uint16_t *heads, unsigned int n)
{
	offer_under(f, heads, n, RING_CALLS);
}

static bool needs_reset(struct fixture *f)
{
	return virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static bool serves(void *opaque)
{
	struct fixture *f = opaque;
	uint8_t *status = virtio_rig_ptr(&f->rig, f->status);
	uint8_t *data = virtio_rig_ptr(&f->rig, f->data);

	start(f);
	put_request(f, VIRTIO_BLK_T_IN, 5, BLOCK_SECTOR);
	*status = 0xee;
	offer(f, &(uint16_t){ 0 }, 1);
	return *status == VIRTIO_BLK_S_OK && data[0] == 5 && f->vd.parts.used->idx == 1;
}

/* What every case ends with. */
static void recover(struct fixture *f)
{
	f->disk.deferred = false;
	memory_disk_drain(&f->disk.be);
	oracle_neighbour_check(&f->oracle);
	oracle_recovers(&f->rig.pci->dev, serves, f);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	recover(f);
	oracle_fini(&f->oracle);
	virtio_rig_fini(&f->rig);
	vring_driver_fini(&f->vd);
	free(f);
	return 0;
}

/* Each breaks the ring, and nothing but the ring. */
static void test_chains_that_break_the_ring(void **state)
{
	struct fixture *f = *state;
	const uint64_t end = RIG_MEMORY;
	static const uint16_t next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE,
			      table = VRING_DESC_F_INDIRECT;
	const struct vring_desc bad[] = {
		{ end, 16, 0, 0 }, { end - 8, 16, 0, 0 },	      /* outside, straddling */
		{ end - 8, 16, write, 0 }, { UINT64_MAX - 7, 16, write, 0 }, /* wrapping */
		{ 0, UINT32_MAX, write, 0 }, { f->data, 0, 0, 0 },    /* too long, empty */
		{ f->data, 16, next, SIZE }, { f->data, 16, next, 0xffff },
		{ f->data, 16, next, 0 },			      /* bites its tail */
		{ f->table, 16 * SIZE, table | next, 1 }, { f->table, 15, table, 0 },
		{ f->table, 0, table, 0 }, { f->table, UINT32_MAX & ~15u, table, 0 },
		{ end - 16, 32, table, 0 }, { end, 16, table, 0 }, { f->table + 4, 16, table, 0 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		start(f);
		f->vd.parts.desc[0] = bad[i];
		offer(f, &(uint16_t){ 0 }, 1);
		assert_true(needs_reset(f));
		assert_int_equal(f->vd.parts.used->idx, 0);
		recover(f);
	}
	assert_int_equal(virtio_rig_counter(&f->rig, "ring_faults"), ARRAY_SIZE(bad));
}

static void test_heads_and_indexes_that_run_away(void **state)
{
	struct fixture *f = *state;
	static const uint16_t heads[] = { SIZE, SIZE + 1, 0x7fff, 0xffff };
	static const uint16_t steps[] = { SIZE + 1, 0x8000, 0xffff };

	for (unsigned int i = 0; i < ARRAY_SIZE(heads); i++) {
		start(f);
		put_request(f, VIRTIO_BLK_T_IN, 0, BLOCK_SECTOR);
		offer(f, &heads[i], 1);
		assert_true(needs_reset(f));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(steps); i++) {
		start(f);
		put_request(f, VIRTIO_BLK_T_IN, 0, BLOCK_SECTOR);
		f->vd.parts.avail->idx += steps[i];
		offer(f, NULL, 0);
		assert_true(needs_reset(f));
		assert_int_equal(f->vd.parts.used->idx, 0);
	}
}

/* Nested tables, a loop within one, a write before a read, more pieces than the device takes. */
static void test_chains_without_end(void **state)
{
	struct fixture *f = *state;
	struct vring_desc *d, *t = virtio_rig_ptr(&f->rig, f->table);
	const uint32_t bytes = 512 * sizeof(*t);

	for (unsigned int round = 0; round < 4; round++) {
		start(f);
		d = f->vd.parts.desc;
		put_desc(&d[0], f->table, bytes, VRING_DESC_F_INDIRECT, 0);
		for (uint16_t i = 0; i < 512; i++)
			put_desc(&t[i], f->data, 1, VRING_DESC_F_NEXT, (uint16_t)((i + 1) % 512));
		if (round == 0)
			put_desc(&t[1], f->table, bytes, VRING_DESC_F_INDIRECT, 0);
		if (round == 1)
			t[1].flags |= VRING_DESC_F_WRITE;
		if (round == 2)
			t[1].next = 1; /* of itself */
		offer(f, &(uint16_t){ 0 }, 1);
		assert_true(needs_reset(f));
	}
}

/* A full ring of requests that are all the same chain, again and again: a ring's worth a pass. */
static void test_a_ring_that_is_always_full(void **state)
{
	struct fixture *f = *state;
	uint16_t heads[SIZE] = {0};

	start(f);
	put_request(f, VIRTIO_BLK_T_IN, 0, BLOCK_SECTOR);
	for (unsigned int i = 0; i < 2000; i++)
		offer(f, heads, SIZE);
	assert_false(needs_reset(f));
	assert_int_equal(virtio_rig_counter(&f->rig, "reads"), 2000 * SIZE);
	assert_int_equal(f->disk.most_in_a_pass, SIZE);
}

/* The disk completes at once and the driver offers more as it does: other work has its turn. */
static void refill(struct memory_disk *disk)
{
	struct fixture *f = container_of(disk, struct fixture, disk);

	f->vd.parts.avail->idx++;
}

static void count_turn(void *opaque)
{
	struct fixture *f = opaque;

	f->disk.on_submit = NULL;
}

static void test_a_driver_that_refills_as_it_is_served(void **state)
{
	struct fixture *f = *state;

	start(f);
	put_request(f, VIRTIO_BLK_T_IN, 0, BLOCK_SECTOR);
	f->disk.on_submit = refill;
	f->disk.most_in_a_pass = f->disk.in_this_pass = 0;
	f->vd.parts.avail->idx++;
	/* Served for ever, were the pass not bounded: the loop must come to this. */
	assert_int_equal(loop_post(f->rig.loop, count_turn, f), 0);
	fake_hypervisor_io_write(&f->rig.hv, false, RIG_REGISTERS + f->rig.notify_off, 2, 0);
	virtio_rig_settle(&f->rig);
	assert_null(f->disk.on_submit);
	assert_true(f->disk.most_in_a_pass <= SIZE);
	assert_int_equal(f->vd.parts.used->idx, f->vd.parts.avail->idx);
}

static void test_requests_beyond_all_bounds(void **state)
{
	struct fixture *f = *state;
	const uint64_t sectors = sizeof(f->disk.data) / BLOCK_SECTOR;
	const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ VIRTIO_BLK_T_IN, sectors, 512 }, { VIRTIO_BLK_T_IN, sectors - 1, 1024 },
		{ VIRTIO_BLK_T_OUT, sectors, 512 }, { VIRTIO_BLK_T_OUT, UINT64_MAX, 512 },
		{ VIRTIO_BLK_T_IN, UINT64_MAX / 512, 512 }, { VIRTIO_BLK_T_IN, 1ULL << 55, 512 },
		{ VIRTIO_BLK_T_IN, 0, 511 }, { VIRTIO_BLK_T_OUT, 0, 513 }, { VIRTIO_BLK_T_IN, 0, 1 },
	};

	start(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t *status = virtio_rig_ptr(&f->rig, f->status);

		put_request(f, bad[i].type, bad[i].sector, bad[i].len);
		*status = 0xee;
		offer(f, &(uint16_t){ 0 }, 1);
		assert_int_equal(*status, VIRTIO_BLK_S_IOERR);
	}
	assert_false(needs_reset(f));
	assert_int_equal(f->disk.submits, 0);
	assert_int_equal(virtio_rig_counter(&f->rig, "bad_requests"), ARRAY_SIZE(bad));
}

/*
 * What SIZE_MAX and SEG_MAX allow together is the most that one request moves: a disk large enough
 * for more refuses more, so that a reset waits for a bounded amount of input and output.
 */
static void test_requests_larger_than_the_device_takes(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_OUT };
	struct vring_desc *t = virtio_rig_ptr(&f->rig, f->table);
	uint32_t size_max, seg_max, pieces;

	f->disk.be.capacity = 1ULL << 40;
	f->disk.deferred = true; /* it has not that much: nothing may be copied */
	start(f);
	size_max = (uint32_t)virtio_rig_config(
		&f->rig, offsetof(struct virtio_blk_config, size_max), 4);
	seg_max = (uint32_t)virtio_rig_config(
		&f->rig, offsetof(struct virtio_blk_config, seg_max), 4);
	assert_true(size_max && (uint64_t)size_max * seg_max < 64 * MIB);
	memcpy(virtio_rig_ptr(&f->rig, f->header), &hdr, sizeof(hdr));
	pieces = size_max * seg_max / (2 * MIB) + 1;
	put_desc(&t[0], f->header, sizeof(hdr), VRING_DESC_F_NEXT, 1);
	for (uint16_t i = 1; i <= pieces; i++)
		put_desc(&t[i], 2 * MIB, 2 * MIB, VRING_DESC_F_NEXT, i + 1);
	put_desc(&t[pieces + 1], f->status, 1, VRING_DESC_F_WRITE, 0);
	put_desc(&f->vd.parts.desc[0], f->table, (pieces + 2) * 16, VRING_DESC_F_INDIRECT, 0);
	offer(f, &(uint16_t){ 0 }, 1);
	assert_int_equal(*(uint8_t *)virtio_rig_ptr(&f->rig, f->status), VIRTIO_BLK_S_IOERR);
	assert_int_equal(f->disk.held_count, 0);
	assert_false(needs_reset(f));
	f->disk.be.capacity = sizeof(f->disk.data);
}

/* Status 0 with the whole ring in flight, and more misdeeds while the device waits for the disk. */
static void test_reset_with_all_in_flight(void **state)
{
	struct fixture *f = *state;
	uint16_t heads[SIZE] = {0};

	start(f);
	f->disk.deferred = true;
	put_request(f, VIRTIO_BLK_T_IN, 0, BLOCK_SECTOR);
	offer(f, heads, SIZE);
	assert_int_equal(f->disk.held_count, SIZE);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	for (unsigned int at = 0; at < 64; at++)
		for (unsigned int size = 1; size <= 8; size *= 2)
			if (at != VIRTIO_PCI_COMMON_STATUS)
				virtio_rig_write(&f->rig, at, size, UINT64_MAX);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 0xf);
	memset(f->vd.parts.desc, 0xff, SIZE * sizeof(struct vring_desc));
	virtio_rig_settle(&f->rig);
	assert_int_not_equal(virtio_rig_status(&f->rig), 0);
	memory_disk_drain(&f->disk.be);
	virtio_rig_settle(&f->rig);
	assert_int_equal(virtio_rig_status(&f->rig), 0);
}

/* Without Bus Master Enable nothing is read or written; what waited goes on with it. */
static void test_bus_mastering_gates_the_ring(void **state)
{
	struct fixture *f = *state;
	uint8_t *status = virtio_rig_ptr(&f->rig, f->status);

	start(f);
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	virtio_rig_settle(&f->rig);
	put_request(f, VIRTIO_BLK_T_IN, 5, BLOCK_SECTOR);
	*status = 0xee;
	f->vd.parts.avail->idx++;
	oracle_look(&f->oracle);
	fake_hypervisor_io_write(&f->rig.hv, false, RIG_REGISTERS + f->rig.notify_off, 2, 0);
	virtio_rig_settle(&f->rig);
	oracle_check_memory(&f->oracle); /* not a byte */
	assert_int_equal(f->disk.submits, 0);
	assert_false(needs_reset(f));
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2,
			     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	virtio_rig_settle(&f->rig);
	assert_int_equal(*status, VIRTIO_BLK_S_OK);
	assert_int_equal(f->vd.parts.used->idx, 1);
	assert_int_equal(virtio_rig_messages(&f->rig, 1), 1);

	/* Taken away with a request in flight: it ends, and the next waits. */
	f->disk.deferred = true;
	offer(f, &(uint16_t){ 0 }, 1);
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	offer(f, &(uint16_t){ 0 }, 1);
	assert_int_equal(f->disk.held_count, 1);
	memory_disk_drain(&f->disk.be);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->disk.held_count, 0);
	pci_bus_config_write(f->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2,
			     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	virtio_rig_settle(&f->rig);
	assert_int_equal(f->disk.held_count, 1);
}

struct race {
	struct fixture *f;
	_Atomic bool over;
};

/* Another vCPU that changes header and descriptors for as long as it may. */
static void *scribble(void *opaque)
{
	struct race *race = opaque;
	struct fixture *f = race->f;
	volatile struct virtio_blk_outhdr *hdr = virtio_rig_ptr(&f->rig, f->header);
	volatile struct vring_desc *d = f->vd.parts.desc;

	for (unsigned int i = 0; !race->over; i++) {
		hdr->type = i & 1 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
		hdr->sector = i & 2 ? UINT64_MAX : 1;
		d[1].len = i & 4 ? BLOCK_SECTOR : 8192;
		d[1].addr = i & 8 ? f->data : RIG_MEMORY - 8192;
	}
	return NULL;
}

static void test_a_request_that_changes_as_it_is_read(void **state)
{
	struct fixture *f = *state;
	struct race race = { .f = f };
	pthread_t thread;

	start(f);
	put_request(f, VIRTIO_BLK_T_IN, 1, BLOCK_SECTOR);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &race), 0);
	/* memory_disk refuses what is out of bounds: it would end the test. */
	for (unsigned int i = 0; i < 3000; i++) {
		f->vd.parts.avail->idx++;
		fake_hypervisor_io_write(&f->rig.hv, false, RIG_REGISTERS + f->rig.notify_off, 2,
					 0);
		virtio_rig_turn(&f->rig);
	}
	race.over = true;
	pthread_join(thread, NULL);
	virtio_rig_settle(&f->rig);
	/* The two halves of a descriptor may come from before and after a change: such a chain
	 * may break the ring, as memory that is not there does. */
	assert_true(f->disk.submits > 0 || needs_reset(f));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_chains_that_break_the_ring),
		T(test_heads_and_indexes_that_run_away),
		T(test_chains_without_end),
		T(test_a_ring_that_is_always_full),
		T(test_a_driver_that_refills_as_it_is_served),
		T(test_requests_beyond_all_bounds),
		T(test_requests_larger_than_the_device_takes),
		T(test_reset_with_all_in_flight),
		T(test_bus_mastering_gates_the_ring),
		T(test_a_request_that_changes_as_it_is_read),
	};

	return cmocka_run_group_tests_name("virtio_blk_hostile", tests, NULL, NULL);
}
