#include "tests/fuzz/ring_program.h"

#include <stdlib.h>

#include "core/log.h"
#include "tests/fuzz/machine.h"

#define CALLS_A_TURN 64u /* of the hypervisor; nothing in a ring pass routes interrupts anew */

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init("fuzz", LOG_LEVEL_ERROR);
	return 0;
}

static struct virtio_pci *function(struct ring_program *p)
{
	return container_of(p->rig.pci, struct virtio_pci, pci);
}

static void put(struct ring_program *p, gpa_t gpa, const void *bytes, size_t len)
{
	if (guest_memory_write(p->rig.memory, gpa, bytes, len))
		return; /* a program may try */
}

void ring_program_desc(struct ring_program *p, unsigned int index, uint64_t addr, uint32_t len,
		       uint16_t flags, uint16_t next)
{
	struct vring_desc d = { .addr = addr, .len = len, .flags = flags, .next = next };

	put(p, RING_DESC + index * sizeof(d), &d, sizeof(d));
}

void ring_program_push(struct ring_program *p, uint16_t head)
{
	struct vring_avail *avail = guest_memory_ptr(p->rig.memory, RING_AVAIL, 4096);
	unsigned int q = p->subject->queue(function(p)->acked);

	avail->ring[avail->idx & (function(p)->queues[q].size - 1)] = head;
	avail->idx++;
}

/* All that the driver has handed out until now. */
static void permit(struct ring_program *p)
{
	struct virtio_pci *vp = function(p);

	if (p->subject->busy && p->subject->busy(p))
		oracle_look_on(&p->oracle);
	else
		oracle_look(&p->oracle);
	for (unsigned int i = 0; i < vp->queue_count; i++)
		if (vp->queues[i].enabled)
			oracle_allow_ring(&p->oracle, vp->queues[i].size, vp->queues[i].desc,
					  vp->queues[i].device);
}

void ring_program_turn(struct ring_program *p)
{
	permit(p);
	oracle_begin(&p->oracle);
	virtio_rig_turn(&p->rig);
	oracle_end(&p->oracle, CALLS_A_TURN);
	oracle_check_memory(&p->oracle);
}

static void finish(struct ring_program *p)
{
	permit(p);
	if (p->subject->finish)
		p->subject->finish(p);
	oracle_check_memory(&p->oracle);
	ring_program_turn(p);
}

static void write_queue(struct ring_program *p, unsigned int queue, unsigned int size)
{
	struct virtio_rig *rig = &p->rig;

	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4, RING_DESC);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, RING_AVAIL);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_USEDLO, 4, RING_USED);
	virtio_rig_write(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

/* The way to DRIVER_OK, with some of the features and a ring of some size. */
static void bring_up(struct ring_program *p, uint64_t without, unsigned int shift)
{
	struct virtio_rig *rig = &p->rig;
	uint64_t features;

	finish(p); /* a reset waits for it */
	virtio_rig_plug_again(rig);
	features = virtio_rig_features(rig) & ~without;
	if (!virtio_rig_negotiate(rig, features))
		return;
	memset(virtio_rig_ptr(rig, RING_AVAIL), 0, RING_TABLE - RING_AVAIL);
	write_queue(p, p->subject->queue(features), 1u << shift);
	virtio_rig_driver_ok(rig);
	ring_program_turn(p);
}

static uint64_t take_address(struct input *in)
{
	uint8_t kind = (uint8_t)take(in, 1);

	if (kind < 0xe0)
		return take(in, 2);
	if (kind < 0xf0)
		return RING_MEMORY - (kind & 15);
	return kind < 0xf8 ? RING_DESC + 0x800 * (kind & 7u) : take(in, 8);
}

static void write_descriptor(struct ring_program *p, gpa_t table, struct input *in)
{
	unsigned int index = (unsigned int)take(in, 1);
	uint8_t how = (uint8_t)take(in, 1);
	struct vring_desc d = { .addr = take_address(in), .flags = how & 7 };

	d.len = (uint32_t)take(in, how & 0x80 ? 4 : 2);
	d.next = (uint16_t)take(in, 1);
	put(p, table + index * sizeof(d), &d, sizeof(d));
}

static void write_bytes(struct ring_program *p, struct input *in)
{
	gpa_t at = take(in, 2);
	size_t want = take(in, 1) & 63;
	const uint8_t *bytes = take_bytes(in, &want);

	put(p, at, bytes, want);
}

static void write_register(struct ring_program *p, struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);
	uint64_t at = take(in, 1), value = take(in, 4);

	io_bus_write(p->rig.mmio, RIG_REGISTERS + (how & 0x80 ? at << 6 : at), 1u << (how & 3),
		     value);
}

static void machine(struct ring_program *p, unsigned int what)
{
	permit(p);
	fuzz_machine(&p->rig.pci->dev, what);
	oracle_check_memory(&p->oracle);
}

/* The doorbell of our queue, or of some other. */
static void ring(struct ring_program *p, uint8_t op)
{
	unsigned int queue = op & 0x80 ? op >> 4 & 7 : p->subject->queue(function(p)->acked);

	fake_hypervisor_io_write(&p->rig.hv, false,
				 RIG_REGISTERS + p->rig.notify_off + 4 * queue, 2, queue);
	ring_program_turn(p);
}

static void operate(struct ring_program *p, struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);

	switch (op & 15) {
	case 0 ... 1:
		write_descriptor(p, RING_DESC, in);
		break;
	case 2:
		write_descriptor(p, RING_TABLE, in);
		break;
	case 3:
		write_bytes(p, in);
		break;
	case 4:
		ring_program_push(p, (uint16_t)take(in, op & 0x80 ? 2 : 1));
		break;
	case 5 ... 7:
		ring(p, op);
		break;
	case 8:
		write_register(p, in);
		break;
	case 9:
		pci_bus_config_write(p->rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2,
				     (uint32_t)(op >> 4) & 7);
		break;
	case 10:
		machine(p, op >> 4);
		break;
	case 11:
		bring_up(p, take(in, 8), op >> 4 & 7);
		break;
	default:
		p->subject->special(p, in);
		break;
	}
}

static bool serves(void *opaque)
{
	struct ring_program *p = opaque;
	struct vring_driver vd;
	uint64_t features;
	bool ok;

	virtio_rig_plug_again(&p->rig);
	virtio_rig_msix_on(&p->rig);
	p->rig.next_free = RING_MEMORY / 2;
	features = virtio_rig_features(&p->rig);
	if (!virtio_rig_negotiate(&p->rig, features))
		return false;
	virtio_rig_queue(&p->rig, p->subject->queue(features), 16, 1, features, &vd);
	virtio_rig_driver_ok(&p->rig);
	virtio_rig_turn(&p->rig);
	ok = p->subject->serves(p, &vd);
	vring_driver_fini(&vd);
	return ok;
}

void ring_program_run(const struct ring_subject *subject, void *opaque, const uint8_t *data,
		      size_t size)
{
	struct ring_program p = { .subject = subject, .opaque = opaque };
	struct input in = { data, size };

	virtio_rig_init_sized(&p.rig, RING_MEMORY);
	virtio_rig_plug(&p.rig, subject->create(&p));
	oracle_init(&p.oracle, p.rig.memory, &p.rig.hv);
	oracle_neighbour_join(&p.oracle, p.rig.bus, p.rig.mmio, PCI_DEVFN_OF(9, 0), 0xd0000000);
	oracle_paint(&p.oracle);
	virtio_rig_msix_on(&p.rig);
	bring_up(&p, take(&in, 8), take(&in, 1) & 7);
	for (unsigned int n = 0; in.left && n < RING_OPERATIONS; n++)
		operate(&p, &in);
	finish(&p);
	oracle_neighbour_check(&p.oracle);
	oracle_recovers(&p.rig.pci->dev, serves, &p);
	oracle_fini(&p.oracle);
	virtio_rig_fini(&p.rig);
}
