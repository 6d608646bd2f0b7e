/*
 * A driver that means harm, on the registers of virtio-blk and virtio-net: every register in every
 * state, of every width, by BAR and by the window in configuration space; doorbells of no queue;
 * features unoffered or late; a reset at any point. After each case the device is reset and works.
 */
#include <linux/virtio_net.h>
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
#include "vhost-user/virtio_net.h"

#define NEIGHBOUR 0xd0000000ULL
#define BAR_SIZE 0x4000u
#define MSIX_SIZE 0x1000u
/* An access may move the BAR's doorbells (5 of virtio-net, off and on) or mask its 6 vectors. */
#define ACCESS_CALLS 12u
#define RACES 20000u /* accesses of a vCPU that races */

struct fixture {
	struct virtio_rig rig;
	struct memory_disk disk;
	struct oracle oracle;
	bool net;
	unsigned int queues;
};

static const uint64_t values[] = { 0, 1, 2, 3, 7, 8, 0x0f, 0x40, 0x7f, 0x80, 0xff, 0x100, 0x1000,
				   0xffff, 0x10000, 0x80000000, 0xffffffff, UINT64_MAX };

static struct pci_device *create(struct fixture *f)
{
	const struct virtio_blk_params blk = {
		.id = "blk", .loop = f->rig.loop, .hv = &f->rig.hv.hv,
		.dma = dma_space_dma(f->rig.space), .backend = &f->disk.be,
	};
	const struct virtio_net_params net = {
		.id = "net", .loop = f->rig.loop, .hv = &f->rig.hv.hv,
		.dma = dma_space_dma(f->rig.space), .memory = f->rig.memory,
		.socket_path = "/nonexistent/socket", .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500,
		.queue_pairs = 2,
	};
	struct pci_device *pci;

	assert_int_equal(f->net ? virtio_net_create(&net, &pci) : virtio_blk_create(&blk, &pci), 0);
	return pci;
}

static void setup(struct fixture *f, bool net)
{
	memset(f, 0, sizeof(*f));
	f->net = net;
	f->queues = net ? 5 : 1;
	virtio_rig_init_sized(&f->rig, 256 * KIB);
	memory_disk_init(&f->disk);
	virtio_rig_plug(&f->rig, create(f));
	oracle_init(&f->oracle, f->rig.memory, &f->rig.hv);
	oracle_neighbour_join(&f->oracle, f->rig.bus, f->rig.mmio, PCI_DEVFN_OF(7, 0), NEIGHBOUR);
	oracle_paint(&f->oracle);
}

/* Up to a status; with DRIVER_OK rings run. */
static void bring_to(struct fixture *f, uint8_t status)
{
	struct vring_driver vd;
	uint64_t features;

	assert_true(virtio_rig_reset(&f->rig));
	virtio_rig_plug_again(&f->rig);
	features = virtio_rig_features(&f->rig);
	if (status & VIRTIO_CONFIG_S_FEATURES_OK)
		assert_true(virtio_rig_negotiate(&f->rig, features));
	if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
		f->rig.next_free = 64 * KIB;
		virtio_rig_queue(&f->rig, f->queues - 1, 16, 1, features, &vd);
		vring_driver_fini(&vd); /* of the honest kind; its memory stays */
	}
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_STATUS, 1, status);
	virtio_rig_turn(&f->rig);
	oracle_look(&f->oracle);
}

static bool works(void *opaque)
{
	struct fixture *f = opaque;

	virtio_rig_plug_again(&f->rig);
	virtio_rig_msix_on(&f->rig);
	bring_to(f, 0xf);
	virtio_rig_settle(&f->rig);
	return virtio_rig_status(&f->rig) == 0xf;
}

static void teardown(struct fixture *f)
{
	oracle_neighbour_check(&f->oracle);
	oracle_recovers(&f->rig.pci->dev, works, f);
	oracle_fini(&f->oracle);
	virtio_rig_fini(&f->rig);
}

static void poke(struct fixture *f, uint64_t addr, unsigned int size, uint64_t value)
{
	oracle_begin(&f->oracle);
	io_bus_write(f->rig.mmio, addr, size, value);
	oracle_end(&f->oracle, ACCESS_CALLS);
	oracle_begin(&f->oracle);
	io_bus_read(f->rig.mmio, addr, size, &value);
	oracle_end(&f->oracle, ACCESS_CALLS);
}

/* Registers, with one that runs past the BAR's end; the io thread has a turn now and then. */
static void poke_everything(struct fixture *f, uint8_t status)
{
	static const struct {
		uint64_t from, to;
	} parts[] = { { 0, 0x40 }, { 0xffe, 0x1004 }, { 0x1ffe, 0x2040 }, { 0x2ffe, 0x3020 },
		      { BAR_SIZE - 8, BAR_SIZE + 1 } };

	for (unsigned int p = 0; p < ARRAY_SIZE(parts); p++)
		for (uint64_t at = parts[p].from; at < parts[p].to; at++)
			for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
				if (at == VIRTIO_PCI_COMMON_STATUS && values[i] == 0)
					continue; /* in a case of its own */
				poke(f, RIG_REGISTERS + at, 1u << (i & 3), values[i]);
				poke(f, RIG_REGISTERS + at, 4, values[i]);
			}
	virtio_rig_turn(&f->rig);
	oracle_neighbour_check(&f->oracle);
	if (!(status & VIRTIO_CONFIG_S_DRIVER_OK))
		oracle_check_memory(&f->oracle); /* nothing runs, nothing changes */
}

static void every_register_in_every_state(bool net)
{
	static const uint8_t states[] = { 0, 1, 3, 0xb, 0xf, 0x83, 0x8f, 0xff };
	struct fixture f;

	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++) {
		setup(&f, net);
		bring_to(&f, states[i]);
		poke_everything(&f, states[i]);
		assert_true(virtio_rig_counter(&f.rig, "guest_faults") > 0);
		teardown(&f);
	}
}

static void test_every_register_of_blk(void **state)
{
	every_register_in_every_state(false);
}

static void test_every_register_of_net(void **state)
{
	every_register_in_every_state(true);
}

/* Queues of no size, beyond the largest, not of a power of two; beyond the last; late. */
static void test_queues_that_cannot_be(void **state)
{
	static const uint16_t sizes[] = { 0, 3, 100, 0x8000, 0xffff };
	struct fixture f;
	uint16_t most;

	for (int net = 0; net < 2; net++) {
		setup(&f, net);
		bring_to(&f, 0xb);
		virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
		most = (uint16_t)virtio_rig_read(&f.rig, VIRTIO_PCI_COMMON_Q_SIZE, 2);
		for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
			virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, sizes[i]);
			assert_int_equal(virtio_rig_read(&f.rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), most);
		}
		virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2u * most);
		assert_int_equal(virtio_rig_read(&f.rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), most);
		for (unsigned int q = f.queues; q < 0x10000; q += q < 70 ? 1 : 8191) {
			virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
			for (unsigned int at = VIRTIO_PCI_COMMON_Q_SIZE; at < 0x40; at += 2) {
				assert_int_equal(virtio_rig_read(&f.rig, at, 2), 0);
				poke(&f, RIG_REGISTERS + at, 2, 1);
			}
		}
		/* After DRIVER_OK no ring comes to those that run (virtio 1.2 §4.1.4.3.2). */
		virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_STATUS, 1, 0xf);
		virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
		virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		assert_int_equal(virtio_rig_read(&f.rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		virtio_rig_turn(&f.rig);
		oracle_check_memory(&f.oracle);
		teardown(&f);
	}
}

static void write_part(struct fixture *f, unsigned int part, uint64_t addr)
{
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_DESCLO + 8 * part, 4, (uint32_t)addr);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_DESCHI + 8 * part, 4, addr >> 32);
}

/* Whether queue 0 can be enabled with these parts; it is disabled again. */
static bool enables(struct fixture *f, uint64_t desc, uint64_t driver, uint64_t device)
{
	bool enabled;

	bring_to(f, 0xb);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_SIZE, 2, 64);
	write_part(f, 0, desc);
	write_part(f, 1, driver);
	write_part(f, 2, device);
	virtio_rig_write(&f->rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	enabled = virtio_rig_read(&f->rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2);
	assert_int_equal(virtio_rig_counter(&f->rig, "guest_faults") > 0, !enabled);
	return enabled;
}

/* A back end gets these addresses: what is misaligned or wraps never gets that far. */
static void test_parts_misaligned_and_wrapping(void **state)
{
	const uint64_t top = UINT64_MAX;
	struct fixture f;

	static const struct {
		uint64_t desc, driver, device;
		bool good;
	} cases[] = {
		{ 0x1000, 0x2000, 0x3000, true }, { 0x1008, 0x2000, 0x3000, false },
		{ 0x1000, 0x2001, 0x3000, false }, { 0x1000, 0x2002, 0x3000, true },
		{ 0x1000, 0x2000, 0x3002, false }, { 0x1000, 0x2000, 0x3004, true },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(&f, true);
		assert_int_equal(enables(&f, cases[i].desc, cases[i].driver, cases[i].device),
				 cases[i].good);
		teardown(&f);
	}
	for (unsigned int part = 0; part < 3; part++) {
		uint64_t parts[3] = { 0x1000, 0x2000, 0x3000 };

		parts[part] = top & ~15ULL;
		setup(&f, true);
		assert_false(enables(&f, parts[0], parts[1], parts[2]));
		teardown(&f);
	}
}

/* A field is written whole or not at all, whatever else the access covers. */
static void test_fields_written_in_part(void **state)
{
	static const struct {
		uint8_t at, width;
	} fields[] = {
		{ VIRTIO_PCI_COMMON_DFSELECT, 4 }, { VIRTIO_PCI_COMMON_GFSELECT, 4 },
		{ VIRTIO_PCI_COMMON_MSIX, 2 },	   { VIRTIO_PCI_COMMON_STATUS, 1 },
		{ VIRTIO_PCI_COMMON_Q_SELECT, 2 }, { VIRTIO_PCI_COMMON_Q_SIZE, 2 },
		{ VIRTIO_PCI_COMMON_Q_MSIX, 2 },   { VIRTIO_PCI_COMMON_Q_ENABLE, 2 },
		{ VIRTIO_PCI_COMMON_Q_DESCLO, 4 }, { VIRTIO_PCI_COMMON_Q_DESCHI, 4 },
		{ VIRTIO_PCI_COMMON_Q_AVAILLO, 4 }, { VIRTIO_PCI_COMMON_Q_AVAILHI, 4 },
		{ VIRTIO_PCI_COMMON_Q_USEDLO, 4 }, { VIRTIO_PCI_COMMON_Q_USEDHI, 4 },
	};
	struct fixture f;

	setup(&f, true);
	bring_to(&f, 3);
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		for (unsigned int size = 1; size <= 8; size *= 2) {
			uint64_t before = virtio_rig_read(&f.rig, fields[i].at, fields[i].width);
			uint64_t faults = virtio_rig_counter(&f.rig, "guest_faults");

			if (size == fields[i].width)
				continue;
			virtio_rig_write(&f.rig, fields[i].at, size, 1);
			virtio_rig_write(&f.rig, fields[i].at, size, 4);
			assert_int_equal(virtio_rig_read(&f.rig, fields[i].at, fields[i].width),
					 before);
			assert_int_equal(virtio_rig_counter(&f.rig, "guest_faults"), faults + 2);
		}
	teardown(&f);
}

/* Ring parts outside memory, about its end, wrapping, on one another: started, they do no harm. */
static void test_rings_anywhere(void **state)
{
	const uint64_t end = 256 * KIB;
	const uint64_t places[] = { end, end - 16, end - 1024, UINT64_MAX & ~15ULL, 1ULL << 63,
				    RIG_REGISTERS, 0 };
	struct fixture f;

	for (unsigned int part = 0; part < 3; part++)
		for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
			uint64_t parts[3] = { 0x1000, 0x2000, 0x3000 };
			const unsigned int size = 128;

			setup(&f, false);
			bring_to(&f, 0xb);
			parts[part] = places[i];
			for (unsigned int k = 0; k < 3; k++)
				write_part(&f, k, parts[k]);
			virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
			oracle_allow_ring(&f.oracle, size, parts[0], parts[2]);
			virtio_rig_driver_ok(&f.rig);
			virtio_rig_settle(&f.rig);
			oracle_check_memory(&f.oracle);
			teardown(&f);
		}
}

/* A feature not offered, too few, too late: FEATURES_OK does not stay, what was agreed does. */
static void test_features_unoffered_and_late(void **state)
{
	struct fixture f;

	for (int net = 0; net < 2; net++) {
		uint64_t offered;

		setup(&f, net);
		offered = virtio_rig_features(&f.rig);
		for (unsigned int bit = 0; bit < 64; bit++)
			if (!(offered >> bit & 1))
				assert_false(virtio_rig_negotiate(&f.rig, offered | 1ULL << bit));
		assert_false(virtio_rig_negotiate(&f.rig, 0));
		assert_true(virtio_rig_negotiate(&f.rig, offered));
		for (unsigned int select = 0; select < 70; select++) {
			virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_GFSELECT, 4, select);
			virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_GF, 4, UINT32_MAX);
			virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_DFSELECT, 4, select);
			if (select > 1)
				assert_int_equal(
					virtio_rig_read(&f.rig, VIRTIO_PCI_COMMON_DF, 4), 0);
		}
		virtio_rig_write(&f.rig, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
		assert_int_equal(virtio_rig_read(&f.rig, VIRTIO_PCI_COMMON_GF, 4),
				 (uint32_t)offered);
		teardown(&f);
	}
}

/* Doorbells of every queue there could be, and of none, with nothing set up. */
static void test_notify_to_nowhere(void **state)
{
	struct fixture f;

	for (int net = 0; net < 2; net++) {
		setup(&f, net);
		for (uint64_t at = 0; at < BAR_SIZE - f.rig.notify_off; at += 4) {
			fake_hypervisor_io_write(&f.rig.hv, false,
						 RIG_REGISTERS + f.rig.notify_off + at, 2, at);
			poke(&f, RIG_REGISTERS + f.rig.notify_off + at, 2, at);
		}
		virtio_rig_settle(&f.rig);
		oracle_check_memory(&f.oracle);
		teardown(&f);
	}
}

/* The window in configuration space, pointed everywhere and read and written at every offset. */
static void test_window_past_every_end(void **state)
{
	static const uint32_t places[] = { 0, 1, 20, 21, 55, 56, 0xfff, 0x1000, 0x2ffc, 0x3ffc,
					   0x3ffd, 0x3fff, 0x4000, 0x7fffffff, 0xfffffffc,
					   0xffffffff };
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 8, 0xffffffff };
	struct fixture f;
	uint16_t cap;

	setup(&f, true);
	bring_to(&f, 3);
	cap = (uint16_t)pci_bus_config_read(f.rig.bus, 0, RIG_DEVFN, PCI_CAPABILITY_LIST, 1);
	while (pci_bus_config_read(f.rig.bus, 0, RIG_DEVFN, cap, 1) != PCI_CAP_ID_VNDR ||
	       pci_bus_config_read(f.rig.bus, 0, RIG_DEVFN, cap + 3, 1) != VIRTIO_PCI_CAP_PCI_CFG)
		cap = (uint16_t)pci_bus_config_read(f.rig.bus, 0, RIG_DEVFN, cap + 1, 1);
	for (unsigned int bar = 0; bar < 8; bar++)
		for (unsigned int i = 0; i < ARRAY_SIZE(places); i++)
			for (unsigned int k = 0; k < ARRAY_SIZE(lengths); k++) {
				pci_bus_config_write(f.rig.bus, 0, RIG_DEVFN, cap + 4, 1, bar);
				pci_bus_config_write(f.rig.bus, 0, RIG_DEVFN, cap + 8, 4, places[i]);
				pci_bus_config_write(f.rig.bus, 0, RIG_DEVFN, cap + 12, 4,
						     lengths[k]);
				for (unsigned int at = 13; at < 22; at++) {
					pci_bus_config_read(f.rig.bus, 0, RIG_DEVFN,
							    (uint16_t)(cap + at), 4);
					if (at >= 16 && at < 20)
						pci_bus_config_write(f.rig.bus, 0, RIG_DEVFN,
								     (uint16_t)(cap + at), 1, 0xff);
				}
			}
	virtio_rig_settle(&f.rig);
	oracle_check_memory(&f.oracle);
	teardown(&f);
}

/* The MSI-X BAR whole, enabled and not, with function mask and Bus Master Enable in every mix. */
static void test_the_msix_bar(void **state)
{
	struct fixture f;

	for (unsigned int mix = 0; mix < 4; mix++) {
		setup(&f, true);
		bring_to(&f, 0xf);
		virtio_rig_msix_on(&f.rig);
		pci_bus_config_write(f.rig.bus, 0, RIG_DEVFN, PCI_COMMAND, 2,
				     PCI_COMMAND_MEMORY | (mix & 1 ? PCI_COMMAND_MASTER : 0));
		if (mix & 2)
			f.rig.hv.fail = -1;
		for (uint64_t at = 0; at < MSIX_SIZE + 4; at += at % 64 == 61 ? 3 : 1)
			for (unsigned int size = 1; size <= 8; size *= 2)
				poke(&f, RIG_MSIX + at, size, at * 0x0101010101010101ULL);
		f.rig.hv.fail = 0;
		virtio_rig_settle(&f.rig);
		teardown(&f);
	}
}

struct vcpu {
	struct fixture *f;
	uint32_t seed;
	_Atomic unsigned int *running;
};

static uint32_t number(struct vcpu *vcpu)
{
	vcpu->seed = vcpu->seed * 1664525u + 1013904223u;
	return vcpu->seed >> 8;
}

/* A vCPU that does whatever comes to it: status and queues most, BARs and bus mastering too. */
static void *vcpu_main(void *opaque)
{
	static const uint8_t statuses[] = { 0, 0, 1, 3, 0xb, 0xf, 0xf, 0x8f };
	struct vcpu *vcpu = opaque;
	struct virtio_rig *rig = &vcpu->f->rig;
	uint64_t value;

	for (unsigned int i = 0; i < RACES; i++) {
		uint32_t r = number(vcpu), at = number(vcpu);

		switch (r & 7) {
		case 0 ... 1:
			io_bus_write(rig->mmio, RIG_REGISTERS + VIRTIO_PCI_COMMON_STATUS, 1,
				     statuses[at & 7]);
			break;
		case 2:
			io_bus_write(rig->mmio, RIG_REGISTERS + (at & 0x3c), 4, number(vcpu) & 0xffff);
			break;
		case 3:
			io_bus_write(rig->mmio, RIG_REGISTERS + (at & 0x3e), 2, number(vcpu) & 0x1ff);
			break;
		case 4:
			io_bus_write(rig->mmio, RIG_MSIX + (at & 0x5c), 4, number(vcpu) & 1);
			break;
		case 5:
			pci_bus_config_write(rig->bus, 0, RIG_DEVFN, PCI_COMMAND, 2, at & 7);
			break;
		case 6:
			pci_bus_config_write(rig->bus, 0, RIG_DEVFN, PCI_BASE_ADDRESS_0, 4,
					     at & 1 ? RIG_REGISTERS : RIG_REGISTERS + 0x8000);
			break;
		default:
			io_bus_read(rig->mmio, RIG_REGISTERS + (at & 0x3fff), 4, &value);
			break;
		}
	}
	--*vcpu->running;
	return NULL;
}

static void stop_loop(void *opaque)
{
	loop_stop(opaque);
}

static void test_vcpus_race_with_the_io_thread(void **state)
{
	_Atomic unsigned int running = 2;
	struct vcpu vcpus[2];
	pthread_t threads[2];
	struct fixture f;

	for (int net = 0; net < 2; net++) {
		setup(&f, net);
		bring_to(&f, 0xf);
		running = 2;
		for (unsigned int i = 0; i < 2; i++) {
			vcpus[i] = (struct vcpu){ .f = &f, .seed = i + 1, .running = &running };
			assert_int_equal(pthread_create(&threads[i], NULL, vcpu_main, &vcpus[i]), 0);
		}
		while (running) {
			assert_int_equal(loop_post(f.rig.loop, stop_loop, f.rig.loop), 0);
			loop_run(f.rig.loop);
		}
		for (unsigned int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		teardown(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vcpus_race_with_the_io_thread),
		cmocka_unit_test(test_every_register_of_blk),
		cmocka_unit_test(test_every_register_of_net),
		cmocka_unit_test(test_queues_that_cannot_be),
		cmocka_unit_test(test_parts_misaligned_and_wrapping),
		cmocka_unit_test(test_fields_written_in_part),
		cmocka_unit_test(test_rings_anywhere),
		cmocka_unit_test(test_features_unoffered_and_late),
		cmocka_unit_test(test_notify_to_nowhere),
		cmocka_unit_test(test_window_past_every_end),
		cmocka_unit_test(test_the_msix_bar),
	};

	return cmocka_run_group_tests_name("virtio_hostile", tests, NULL, NULL);
}
