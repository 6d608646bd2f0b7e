/*
 * A hostile guest on the board's own devices: any sequence of port, memory and configuration
 * accesses to serial port, clock, keyboard controller, chipset, root port and a card behind it,
 * with time passing in between. At the end each device's state must be one that it loads again,
 * and after a reset each device must work.
 *
 * Input: operations, a byte each, then their arguments.
 */
#include <linux/pci.h>
#include <stdlib.h>

#include "core/log.h"
#include "tests/fuzz/input.h"
#include "tests/unit/devemu/board_rig.h"

#define MAX_OPERATIONS 1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void type_bytes(struct board_rig *b, struct input *in)
{
	const struct char_frontend *fe = b->chr.frontend;
	uint8_t bytes[16] = {0};
	size_t room = fe->room(fe->opaque), want = take(in, 1) % sizeof(bytes);

	for (size_t i = 0; i < want; i++)
		bytes[i] = (uint8_t)take(in, 1);
	if (room)
		fe->receive(fe->opaque, bytes, MIN(room, want));
}

static void operate(struct board_rig *b, struct input *in)
{
	static const uint8_t devfns[] = { 0, LPC_DEVFN, PCI_DEVFN_OF(1, 0) };
	uint8_t op = (uint8_t)take(in, 1);
	unsigned int size = 1u << (op >> 4 & 3);
	uint64_t addr, value;

	switch (op & 0x0f) {
	case 0 ... 1:
		io_bus_read(b->pio, take(in, 2), MIN(size, 4u), &value);
		break;
	case 2 ... 3:
		addr = take(in, 2);
		io_bus_write(b->pio, addr, MIN(size, 4u), take(in, MIN(size, 4u)));
		break;
	case 4:
		io_bus_read(b->mmio, take(in, 8), size, &value);
		break;
	case 5:
		addr = take(in, 8);
		io_bus_write(b->mmio, addr, size, take(in, size));
		break;
	case 6 ... 7: /* a function of bus 0, where the interesting registers are */
		addr = take(in, 1);
		pci_bus_config_write(b->root, 0, devfns[addr % ARRAY_SIZE(devfns)],
				     (uint16_t)take(in, 1), MIN(size, 4u),
				     (uint32_t)take(in, MIN(size, 4u)));
		break;
	case 8: /* the card, if the bridge lets it be seen */
		addr = take(in, 1);
		pci_bus_config_write(b->root, (uint8_t)addr, 0, (uint16_t)take(in, 2),
				     MIN(size, 4u), (uint32_t)take(in, MIN(size, 4u)));
		pci_bus_config_read(b->root, (uint8_t)addr, 0, (uint16_t)take(in, 2),
				    MIN(size, 4u));
		break;
	case 9:
		b->now += (int64_t)(take(in, 4) << (op >> 4));
		break;
	case 10:
		type_bytes(b, in);
		break;
	case 11:
		lpc_power_button(b->lpc);
		lpc_gpe_raise(b->lpc, (unsigned int)take(in, 1));
		break;
	case 12:
		pci_msix_notify(b->card.msix, (unsigned int)take(in, 1));
		fake_hypervisor_poll(&b->fake);
		break;
	case 13:
		device_enter(b->devices[(op >> 4) % BOARD_RIG_DEVICES]);
		b->devices[(op >> 4) % BOARD_RIG_DEVICES]->ops->reset(b->devices[(op >> 4) % BOARD_RIG_DEVICES]);
		device_leave(b->devices[(op >> 4) % BOARD_RIG_DEVICES]);
		break;
	default:
		break;
	}
}

/* Whatever state a guest can bring a device into, its own load must take. */
static void save_and_load(struct device *dev)
{
	uint8_t *state = malloc(dev->ops->state_size);

	device_enter(dev);
	dev->ops->save(dev, state);
	if (dev->ops->load(dev, state, dev->ops->state_size, dev->ops->state_version))
		abort();
	device_leave(dev);
	free(state);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init("fuzz", LOG_LEVEL_ERROR);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct board_rig *b = board_rig_create();
	struct oracle oracle;

	oracle_init(&oracle, NULL, &b->fake);
	for (unsigned int i = 0; i < MAX_OPERATIONS && in.left; i++) {
		oracle_begin(&oracle);
		operate(b, &in);
		oracle_end(&oracle, BOARD_RIG_CALLS);
	}
	for (unsigned int i = 0; i < b->count; i++)
		save_and_load(b->devices[i]);
	board_rig_recover(b);
	oracle_fini(&oracle);
	board_rig_destroy(b);
	return 0;
}
