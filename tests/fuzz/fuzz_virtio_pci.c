/*
 * A hostile guest on a virtio function: any sequence of accesses to its registers, its
 * configuration space, its doorbells and the memory its rings are in, with the io thread's turns
 * and the machine's (quiesce, resume, reset, save, load) in between. A neighbour on the bus goes
 * on, and after a reset the function starts.
 *
 * Input: one byte that chooses the function, then operations: a byte each, then their arguments.
 */
#include <stdlib.h>

#include "core/log.h"
#include "tests/fakes/oracle.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/machine.h"
#include "tests/unit/vhost-user/virtio_rig.h"
#include "vhost-user/virtio_blk.h"
#include "vhost-user/virtio_net.h"

#define DISK_BYTES (64 * BLOCK_SECTOR)
#define MAX_OPERATIONS 512u
#define FUZZ_MEMORY (128 * KIB)
#define NEIGHBOUR 0xd0000000u
/* To plug and load: 6 doorbells off and on and 6 vectors, a few times. */
#define CALLS_AN_OPERATION 200u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void disk_submit(struct block_backend *be, struct block_request *req)
{
	static uint8_t disk[DISK_BYTES];
	uint64_t at = req->offset;

	for (unsigned int i = 0; i < req->iov_count && req->op != BLOCK_FLUSH; i++) {
		size_t len = req->iov[i].iov_len;

		if (!range_within(at, len, DISK_BYTES))
			abort(); /* the device has promised to check */
		if (req->op == BLOCK_READ)
			memcpy(req->iov[i].iov_base, disk + at, len);
		else
			memcpy(disk + at, req->iov[i].iov_base, len);
		at += len;
	}
	req->done(req, 0);
}

static void disk_nothing(struct block_backend *be)
{
}

static const struct block_backend_ops disk_ops = {
	.submit = disk_submit,
	.kick = disk_nothing,
	.drain = disk_nothing,
	.destroy = disk_nothing,
};

static struct pci_device *create(struct virtio_rig *rig, bool net)
{
	static struct block_backend disk = {
		.ops = &disk_ops, .capacity = DISK_BYTES, .logical_block = BLOCK_SECTOR};
	const struct virtio_blk_params blk_params = {
		.id = "blk",
		.loop = rig->loop,
		.hv = &rig->hv.hv,
		.dma = dma_space_dma(rig->space),
		.backend = &disk,
	};
	const struct virtio_net_params net_params = {
		.id = "net",
		.loop = rig->loop,
		.hv = &rig->hv.hv,
		.dma = dma_space_dma(rig->space),
		.memory = rig->memory,
		.socket_path = "/nonexistent/socket",
		.mac = {2, 0, 0, 0, 0, 1},
		.mtu = 1500,
		.queue_pairs = 2,
	};
	struct pci_device *pci;

	if (net ? virtio_net_create(&net_params, &pci) : virtio_blk_create(&blk_params, &pci))
		abort();
	return pci;
}

/* The whole way to DRIVER_OK in one, so that rings run early in an input. */
static void bring_up(struct virtio_rig *rig, unsigned int queue)
{
	const struct pci_bar *bar = &rig->pci->bars[0];

	if (!bar->mapped || bar->range.base != RIG_REGISTERS ||
	    !virtio_rig_negotiate(rig, virtio_rig_features(rig)))
		return;
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x1000);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, 0x2000);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_USEDLO, 4, 0x3000);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	virtio_rig_driver_ok(rig);
	virtio_rig_turn(rig);
}

static void operate(struct virtio_rig *rig, struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);
	unsigned int size = 1u << (op >> 4 & 3);
	uint64_t at = take(in, 2), value;

	switch (op & 15) {
	case 0:
	case 1:
		io_bus_write(rig->mmio, RIG_REGISTERS + (at & 0x3fff), size, take(in, 8));
		break;
	case 2:
		io_bus_read(rig->mmio, RIG_REGISTERS + (at & 0x3fff), size, &value);
		break;
	case 3:
		pci_bus_config_write(rig->bus, 0, RIG_DEVFN, at & 0xfff, MIN(size, 4u),
				     (uint32_t)take(in, 4));
		break;
	case 4:
		pci_bus_config_read(rig->bus, 0, RIG_DEVFN, at & 0xfff, MIN(size, 4u));
		break;
	case 5: /* rings and buffers in the first pages */
		value = take(in, 8);
		if (guest_memory_write(rig->memory, at, &value, sizeof(value)))
			abort();
		break;
	case 6:
		io_bus_write(rig->mmio, RIG_MSIX + (at & 0xfff), size, take(in, 8));
		break;
	case 7:
		fake_hypervisor_io_write(&rig->hv, false, RIG_REGISTERS + 0x3000 + 4 * (at & 7), 2, at);
		virtio_rig_turn(rig);
		break;
	case 8:
		fuzz_machine(&rig->pci->dev, (unsigned int)at);
		break;
	case 9:
		bring_up(rig, at & 7);
		break;
	default:
		virtio_rig_turn(rig);
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init("fuzz_virtio_pci", LOG_LEVEL_ERROR);
	return 0;
}

static bool starts(void *opaque)
{
	struct virtio_rig *rig = opaque;

	virtio_rig_plug_again(rig);
	bring_up(rig, 0);
	return virtio_rig_status(rig) == 0xf; /* neither refused nor in need of a reset */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct oracle oracle;
	struct virtio_rig rig;
	bool net = take(&in, 1) & 1;

	virtio_rig_init_sized(&rig, FUZZ_MEMORY);
	virtio_rig_plug(&rig, create(&rig, net));
	oracle_init(&oracle, NULL, &rig.hv);
	oracle_neighbour_join(&oracle, rig.bus, rig.mmio, PCI_DEVFN_OF(9, 0), NEIGHBOUR);
	for (unsigned int n = 0; in.left && n < MAX_OPERATIONS; n++) {
		oracle_begin(&oracle);
		operate(&rig, &in);
		oracle_end(&oracle, CALLS_AN_OPERATION);
		oracle_neighbour_check(&oracle);
	}
	virtio_rig_turn(&rig);
	memset(virtio_rig_ptr(&rig, 0), 0, FUZZ_MEMORY);
	oracle_recovers(&rig.pci->dev, starts, &rig);
	oracle_fini(&oracle);
	virtio_rig_fini(&rig);
	return 0;
}
