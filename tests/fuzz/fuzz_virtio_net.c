/*
 * A hostile driver on the control queue of virtio-net, whose back end is not there. Input:
 * ring_program.h.
 */
#include <linux/virtio_net.h>
#include <stdlib.h>

#include "tests/fuzz/ring_program.h"
#include "vhost-user/virtio_net.h"

#define PAIRS 2u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pci_device *create(struct ring_program *p)
{
	const struct virtio_net_params params = {
		.id = "net",
		.loop = p->rig.loop,
		.hv = &p->rig.hv.hv,
		.dma = dma_space_dma(p->rig.space),
		.memory = p->rig.memory,
		.socket_path = "/nonexistent/socket",
		.mac = { 2, 0, 0, 0, 0, 1 },
		.mtu = 1500,
		.queue_pairs = PAIRS,
	};
	struct pci_device *pci;

	if (virtio_net_create(&params, &pci))
		abort();
	return pci;
}

static unsigned int queue(uint64_t features)
{
	return features >> VIRTIO_NET_F_MQ & 1 ? 2 * PAIRS : 2;
}

/* A well-formed command with data from the input, in one piece or two. */
static void special(struct ring_program *p, struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);
	unsigned int at = how >> 2 & 15;
	uint16_t header = (uint16_t)take(in, 2); /* class and command */
	size_t len = take(in, 1) & 31;
	const uint8_t *data = take_bytes(in, &len);
	uint8_t command[64];

	memset(command, 0, sizeof(command));
	put_le16(command, header);
	memcpy(command + 2, data, len);
	if (guest_memory_write(p->rig.memory, RING_HEADERS + 64 * at, command, sizeof(command)))
		abort();
	ring_program_desc(p, at, RING_HEADERS + 64 * at, how & 1 ? 2 : 2 + (uint32_t)len,
			  VRING_DESC_F_NEXT, (uint16_t)(at + (how & 1 ? 1 : 2)));
	ring_program_desc(p, at + 1, RING_HEADERS + 64 * at + 2, (uint32_t)len, VRING_DESC_F_NEXT,
			  (uint16_t)(at + 2));
	ring_program_desc(p, at + 2, RING_DATA, how & 2 ? 1 : 100, VRING_DESC_F_WRITE, 0);
	ring_program_push(p, (uint16_t)at);
}

static bool serves(struct ring_program *p, struct vring_driver *vd)
{
	static const uint8_t command[] = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET,
					   2, 4, 6, 8, 10, 12 };
	gpa_t at = virtio_rig_alloc(&p->rig, 64, 16);
	const struct vring_buf bufs[] = { { at, sizeof(command) }, { at + 32, 1 } };
	uint8_t *bytes = virtio_rig_ptr(&p->rig, at);
	uint64_t features = virtio_rig_features(&p->rig);
	uint32_t written;
	void *token;

	memcpy(bytes, command, sizeof(command));
	bytes[32] = 0xee;
	if (vring_driver_add(vd, bufs, 1, 1, p))
		return false;
	virtio_rig_kick(&p->rig, queue(features), vd);
	virtio_rig_turn(&p->rig);
	return vring_driver_get_used(vd, &token, &written) && written == 1 &&
	       bytes[32] == VIRTIO_NET_OK && virtio_rig_config(&p->rig, 0, 4) == 0x08060402;
}

static const struct ring_subject subject = {
	.create = create,
	.queue = queue,
	.special = special,
	.serves = serves,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ring_program_run(&subject, NULL, data, size);
	return 0;
}
