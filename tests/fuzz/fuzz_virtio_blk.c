/*
 * A hostile driver on virtio-blk: requests with their DMA, over a disk that completes at once or
 * later, fails, and aborts at whatever the device should have refused. Input: ring_program.h.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>

#include "tests/fuzz/ring_program.h"
#include "tests/unit/vhost-user/memory_disk.h"
#include "vhost-user/virtio_blk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct memory_disk disk;

static struct pci_device *create(struct ring_program *p)
{
	const struct virtio_blk_params params = {
		.id = "blk",
		.loop = p->rig.loop,
		.hv = &p->rig.hv.hv,
		.dma = dma_space_dma(p->rig.space),
		.backend = &disk.be,
	};
	struct pci_device *pci;

	if (virtio_blk_create(&params, &pci))
		abort();
	return pci;
}

static unsigned int queue(uint64_t features)
{
	return 0;
}

static bool busy(struct ring_program *p)
{
	return disk.held_count > 0;
}

static void finish(struct ring_program *p)
{
	disk.deferred = false;
	disk.fail = 0;
	memory_disk_drain(&disk.be);
}

/* A well-formed request, made available: the bounds of the disk are reached early in an input. */
static void request(struct ring_program *p, struct input *in, unsigned int at)
{
	const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
				   VIRTIO_BLK_T_GET_ID };
	uint8_t how = (uint8_t)take(in, 1);
	struct virtio_blk_outhdr hdr = { .type = types[how & 3],
					 .sector = take(in, how & 0x80 ? 8 : 1) };
	uint16_t way = hdr.type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
	uint32_t len = (uint32_t)take(in, 2);
	gpa_t header = RING_HEADERS + 16 * at;

	if (guest_memory_write(p->rig.memory, header, &hdr, sizeof(hdr)))
		abort();
	ring_program_desc(p, at, header, sizeof(hdr), VRING_DESC_F_NEXT, (uint16_t)(at + 1));
	ring_program_desc(p, at + 1, RING_DATA, how & 0x40 ? len : 512, VRING_DESC_F_NEXT | way,
			  (uint16_t)(at + 2));
	ring_program_desc(p, at + 2, RING_DATA - 1, 1, VRING_DESC_F_WRITE, 0);
	ring_program_push(p, (uint16_t)at);
}

static void special(struct ring_program *p, struct input *in)
{
	uint8_t what = (uint8_t)take(in, 1);

	switch (what & 3) {
	case 0:
		disk.deferred = what & 4;
		disk.fail = what & 8 ? -EIO : 0;
		break;
	case 1:
		ring_program_turn(p); /* what the driver wrote meanwhile is its own doing */
		memory_disk_complete(&disk, what >> 2);
		oracle_check_memory(&p->oracle);
		break;
	default:
		request(p, in, what >> 2);
		break;
	}
}

static bool serves(struct ring_program *p, struct vring_driver *vd)
{
	struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_OUT, .sector = 7 };
	gpa_t at = virtio_rig_alloc(&p->rig, 1024, 16);
	const struct vring_buf bufs[] = { { at, sizeof(hdr) }, { at + 16, 512 }, { at + 600, 1 } };
	uint8_t *bytes = virtio_rig_ptr(&p->rig, at);
	uint32_t written;
	void *token;

	memcpy(bytes, &hdr, sizeof(hdr));
	memset(bytes + 16, 0x5a, 512);
	bytes[600] = 0xee;
	if (vring_driver_add(vd, bufs, 2, 1, p))
		return false;
	virtio_rig_kick(&p->rig, 0, vd);
	virtio_rig_turn(&p->rig);
	return vring_driver_get_used(vd, &token, &written) && written == 1 &&
	       bytes[600] == VIRTIO_BLK_S_OK && disk.data[7 * 512 + 511] == 0x5a;
}

static const struct ring_subject subject = {
	.create = create,
	.queue = queue,
	.special = special,
	.busy = busy,
	.finish = finish,
	.serves = serves,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memory_disk_init(&disk);
	ring_program_run(&subject, NULL, data, size);
	if (!disk.destroyed)
		abort();
	return 0;
}
