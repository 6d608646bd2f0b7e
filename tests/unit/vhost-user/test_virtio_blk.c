/* virtio-blk over a disk in memory, with a well-behaved driver and with hostile chains. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/vhost-user/memory_disk.h"
#include "tests/unit/vhost-user/virtio_rig.h"
#include "vhost-user/virtio_blk.h"

#define FEATURES                                                                         \
	(1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_BLK_F_FLUSH |                       \
	 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX)
#define QUEUE_SIZE 32u

static struct memory_disk disk;

struct fixture {
	struct virtio_rig rig;
	struct vring_driver vd;
	uint64_t features;
	gpa_t header, data, status; /* of one request */
	bool read_only;
};

static void plug(struct fixture *f)
{
	struct virtio_blk_params params = {
		.id = "disk0", .serial = "SN-1", .backend = &disk.be};
	struct pci_device *pci;

	virtio_rig_init(&f->rig);
	memory_disk_init(&disk);
	disk.be.read_only = f->read_only;
	params.loop = f->rig.loop;
	params.hv = &f->rig.hv.hv;
	params.dma = dma_space_dma(f->rig.space);
	assert_int_equal(virtio_blk_create(&params, &pci), 0);
	virtio_rig_plug(&f->rig, pci);
	f->header = virtio_rig_alloc(&f->rig, 16, 16);
	f->data = virtio_rig_alloc(&f->rig, 8192, 4096);
	f->status = virtio_rig_alloc(&f->rig, 1, 1);
}

static void start(struct fixture *f, uint64_t features)
{
	virtio_rig_msix_on(&f->rig);
	assert_true(virtio_rig_negotiate(&f->rig, features));
	virtio_rig_queue(&f->rig, 0, QUEUE_SIZE, 1, features, &f->vd);
	virtio_rig_driver_ok(&f->rig);
	virtio_rig_settle(&f->rig);
	f->features = features;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	plug(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_rig_fini(&f->rig);
	assert_true(disk.destroyed);
	vring_driver_fini(&f->vd);
	free(f);
	return 0;
}

static void add(struct fixture *f, const struct vring_buf *bufs, unsigned int out, unsigned int in,
		void *token)
{
	assert_int_equal(vring_driver_add(&f->vd, bufs, out, in, token), 0);
}

/* Queues header, data and status; token is what comes back. */
static void request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, void *token)
{
	struct virtio_blk_outhdr hdr = {.type = type, .sector = sector};
	bool out = type == VIRTIO_BLK_T_OUT;
	struct vring_buf bufs[3] = {{f->header, sizeof(hdr)}};
	unsigned int n = 1;

	memcpy(virtio_rig_ptr(&f->rig, f->header), &hdr, sizeof(hdr));
	*(uint8_t *)virtio_rig_ptr(&f->rig, f->status) = 0xee;
	if (len)
		bufs[n++] = (struct vring_buf){f->data, len};
	bufs[n++] = (struct vring_buf){f->status, 1};
	if (len && out)
		add(f, bufs, 2, 1, token);
	else
		add(f, bufs, 1, n - 1, token);
}

struct arrival {
	struct fixture *f;
	void *token;
	uint32_t written;
};

static bool arrived(void *opaque)
{
	struct arrival *arrival = opaque;

	return vring_driver_get_used(&arrival->f->vd, &arrival->token, &arrival->written);
}

static uint8_t complete(struct fixture *f, uint32_t *written)
{
	struct arrival arrival = {.f = f};

	virtio_rig_kick(&f->rig, 0, &f->vd);
	assert_true(virtio_rig_run_until(&f->rig, arrived, &arrival));
	if (written)
		*written = arrival.written;
	return *(uint8_t *)virtio_rig_ptr(&f->rig, f->status);
}

static uint8_t one(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len)
{
	request(f, type, sector, len, f);
	return complete(f, NULL);
}

static void test_config(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pci_bus_config_read(f->rig.bus, 0, RIG_DEVFN, PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(virtio_rig_config(&f->rig, 0, 8), MEMORY_DISK_SECTORS);
	assert_int_equal(virtio_rig_config(&f->rig, offsetof(struct virtio_blk_config, blk_size), 4),
			 BLOCK_SECTOR);
	assert_true(virtio_rig_config(&f->rig, offsetof(struct virtio_blk_config, seg_max), 4) > 2);
	assert_true(virtio_rig_features(&f->rig) & 1 << VIRTIO_BLK_F_FLUSH);
	assert_false(virtio_rig_features(&f->rig) & 1 << VIRTIO_BLK_F_RO);
}

static void test_read_write(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = virtio_rig_ptr(&f->rig, f->data);
	uint32_t written;

	start(f, FEATURES);
	request(f, VIRTIO_BLK_T_IN, 5, 1024, f);
	assert_int_equal(complete(f, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1025);
	assert_int_equal(data[0], 5);
	assert_int_equal(data[1023], 6);
	assert_int_equal(virtio_rig_messages(&f->rig, 1), 1);
	memset(data, 0x77, 512);
	request(f, VIRTIO_BLK_T_OUT, MEMORY_DISK_SECTORS - 1, 512, f);
	assert_int_equal(complete(f, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1);
	assert_int_equal(disk.data[sizeof(disk.data) - 1], 0x77);
	assert_int_equal(disk.flushes, 0);
	assert_int_equal(one(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.flushes, 1);
	assert_int_equal(one(f, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES), VIRTIO_BLK_S_OK);
	assert_string_equal((char *)data, "SN-1");
	assert_true(disk.kicks > 0);
	assert_int_equal(virtio_rig_counter(&f->rig, "reads"), 1);
	assert_int_equal(virtio_rig_counter(&f->rig, "written_bytes"), 512);
}

static void test_write_through(void **state)
{
	struct fixture *f = *state;

	start(f, FEATURES & ~(1ULL << VIRTIO_BLK_F_FLUSH));
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.flushes, 1);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.flushes, 1);
}

static void test_refusals(void **state)
{
	struct fixture *f = *state;

	start(f, FEATURES);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, MEMORY_DISK_SECTORS, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, MEMORY_DISK_SECTORS - 1, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 100), VIRTIO_BLK_S_IOERR);
	assert_int_equal(virtio_rig_counter(&f->rig, "bad_requests"), 5);
	assert_int_equal(one(f, 0x1234, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(one(f, VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(virtio_rig_counter(&f->rig, "unsupported_requests"), 2);
	disk.fail = -EIO;
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(one(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(virtio_rig_counter(&f->rig, "io_errors"), 2);
	disk.fail = 0;
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_OK);
}

static void test_odd_layouts(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_outhdr hdr = {.type = VIRTIO_BLK_T_OUT, .sector = 2};
	uint8_t *p = virtio_rig_ptr(&f->rig, f->data);
	struct vring_buf bufs[4];
	uint32_t written;

	start(f, FEATURES);
	/* Header split in two, its second part in one piece with data. */
	memcpy(p, &hdr, sizeof(hdr));
	memset(p + sizeof(hdr), 0x55, 512);
	bufs[0] = (struct vring_buf){f->data, 7};
	bufs[1] = (struct vring_buf){f->data + 7, 9 + 500};
	bufs[2] = (struct vring_buf){f->data + 16 + 500, 12};
	bufs[3] = (struct vring_buf){f->status, 1};
	add(f, bufs, 3, 1, f);
	assert_int_equal(complete(f, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.data[2 * 512], 0x55);
	assert_int_equal(disk.data[2 * 512 + 511], 0x55);
	assert_int_equal(disk.data[3 * 512], 3);
	/* Status in one piece with data. */
	hdr = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = 9};
	memcpy(p, &hdr, sizeof(hdr));
	bufs[0] = (struct vring_buf){f->data, sizeof(hdr)};
	bufs[1] = (struct vring_buf){f->data + 1024, 513};
	p[1024 + 512] = 0xee;
	add(f, bufs, 1, 1, f);
	complete(f, &written);
	assert_int_equal(written, 513);
	assert_int_equal(p[1024 + 511], 9);
	assert_int_equal(p[1024 + 512], VIRTIO_BLK_S_OK);
	/* Short header; no header; no status. */
	bufs[0] = (struct vring_buf){f->header, 15};
	bufs[1] = (struct vring_buf){f->status, 1};
	add(f, bufs, 1, 1, f);
	assert_int_equal(complete(f, NULL), VIRTIO_BLK_S_IOERR);
	*(uint8_t *)virtio_rig_ptr(&f->rig, f->status) = 0xee;
	add(f, bufs + 1, 0, 1, f);
	assert_int_equal(complete(f, NULL), VIRTIO_BLK_S_IOERR);
	bufs[0].len = 16;
	add(f, bufs, 1, 0, f);
	complete(f, &written);
	assert_int_equal(written, 0);
	assert_int_equal(virtio_rig_counter(&f->rig, "bad_requests"), 3);
}

static void test_broken_ring(void **state)
{
	struct fixture *f = *state;
	struct vring_buf buf = {RIG_MEMORY - 8, 16}; /* beyond memory */

	start(f, FEATURES);
	add(f, &buf, 1, 0, f);
	virtio_rig_kick(&f->rig, 0, &f->vd);
	virtio_rig_settle(&f->rig);
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(virtio_rig_counter(&f->rig, "ring_faults"), 1);

	/* A chain that bites its tail. */
	vring_driver_fini(&f->vd);
	start(f, FEATURES);
	buf = (struct vring_buf){f->header, 16};
	add(f, &buf, 1, 0, f);
	for (unsigned int i = 0; i < QUEUE_SIZE; i++) {
		f->vd.parts.desc[i].flags = VRING_DESC_F_NEXT;
		f->vd.parts.desc[i].next = 0;
	}
	virtio_rig_kick(&f->rig, 0, &f->vd);
	virtio_rig_settle(&f->rig);
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(virtio_rig_counter(&f->rig, "ring_faults"), 2);

	vring_driver_fini(&f->vd);
	start(f, FEATURES);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void test_ring_outside_memory(void **state)
{
	struct fixture *f = *state;

	assert_true(virtio_rig_negotiate(&f->rig, FEATURES));
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4, RIG_MEMORY - 16);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	virtio_rig_driver_ok(&f->rig);
	virtio_rig_settle(&f->rig);
	assert_true(virtio_rig_status(&f->rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void test_reset_in_flight(void **state)
{
	struct fixture *f = *state;
	struct arrival arrival = {.f = f};

	start(f, FEATURES);
	disk.deferred = true;
	request(f, VIRTIO_BLK_T_IN, 1, 512, f);
	virtio_rig_kick(&f->rig, 0, &f->vd);
	virtio_rig_settle(&f->rig);
	assert_int_equal(disk.held_count, 1);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	virtio_rig_settle(&f->rig);
	assert_int_not_equal(virtio_rig_status(&f->rig), 0); /* the disk may still write */
	memory_disk_drain(&disk.be);
	virtio_rig_settle(&f->rig);
	assert_int_equal(virtio_rig_status(&f->rig), 0);
	assert_true(arrived(&arrival));
	disk.deferred = false;
	vring_driver_fini(&f->vd);
	start(f, FEATURES);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_OK);
}

static void test_quiesce(void **state)
{
	struct fixture *f = *state;
	struct device *dev = &f->rig.pci->dev;
	struct arrival arrival = {.f = f};

	start(f, FEATURES & ~(1ULL << VIRTIO_BLK_F_FLUSH));
	disk.deferred = true;
	request(f, VIRTIO_BLK_T_OUT, 1, 512, f);
	virtio_rig_kick(&f->rig, 0, &f->vd);
	virtio_rig_settle(&f->rig);
	assert_int_equal(dev->ops->quiesce(dev), 0);
	assert_true(arrived(&arrival));
	assert_int_equal(disk.flushes, 1); /* the one behind the write, too */
	assert_int_equal(disk.held_count, 0);
	disk.deferred = false;
	request(f, VIRTIO_BLK_T_IN, 1, 512, f);
	virtio_rig_kick(&f->rig, 0, &f->vd);
	virtio_rig_settle(&f->rig);
	assert_false(arrived(&arrival));
	assert_int_equal(dev->ops->resume(dev), 0);
	assert_true(virtio_rig_run_until(&f->rig, arrived, &arrival));
}

/* Every descriptor in flight, completed in another order: none is lost or mixed up. */
static void test_many_in_flight(void **state)
{
	struct fixture *f = *state;
	const unsigned int count = QUEUE_SIZE / 2;
	struct arrival arrival = {.f = f};
	bool seen[QUEUE_SIZE] = {false};

	start(f, FEATURES);
	disk.deferred = true;
	for (unsigned int i = 0; i < count; i++)
		request(f, VIRTIO_BLK_T_FLUSH, 0, 0, &seen[i]);
	virtio_rig_kick(&f->rig, 0, &f->vd);
	virtio_rig_settle(&f->rig);
	assert_int_equal(disk.held_count, count);
	memory_disk_reverse(&disk);
	memory_disk_drain(&disk.be);
	for (unsigned int i = 0; i < count; i++) {
		assert_true(arrived(&arrival));
		assert_ptr_equal(arrival.token, &seen[count - 1 - i]);
		*(bool *)arrival.token = true;
	}
	assert_false(arrived(&arrival));
}

static void test_read_only(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->read_only = true;
	plug(f);
	assert_true(virtio_rig_features(&f->rig) & 1 << VIRTIO_BLK_F_RO);
	start(f, FEATURES | 1 << VIRTIO_BLK_F_RO);
	assert_int_equal(one(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk.data[0], 0);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	*state = f;
	teardown(state);
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct device *dev = &f->rig.pci->dev;
	void *saved = calloc(1, dev->ops->state_size);

	start(f, FEATURES);
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 3, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(dev->ops->quiesce(dev), 0);
	dev->ops->save(dev, saved);
	dev->ops->reset(dev);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size, 99), -EINVAL);
	assert_int_equal(dev->ops->load(dev, saved, 3, dev->ops->state_version), -EINVAL);
	assert_int_equal(
		dev->ops->load(dev, saved, dev->ops->state_size, dev->ops->state_version), 0);
	assert_int_equal(dev->ops->resume(dev), 0);
	/* The ring goes on where it was. */
	assert_int_equal(one(f, VIRTIO_BLK_T_IN, 4, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(*(uint8_t *)virtio_rig_ptr(&f->rig, f->data), 4);
	free(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_through, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_layouts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ring_outside_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_in_flight, setup, teardown),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
