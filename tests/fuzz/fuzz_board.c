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
#include "core/pci_bus.h"
#include "core/pci_msix.h"
#include "devemu/debug_exit.h"
#include "devemu/host_bridge.h"
#include "devemu/i8042.h"
#include "devemu/lpc.h"
#include "devemu/rtc.h"
#include "devemu/uart.h"
#include "tests/fakes/oracle.h"
#include "tests/fuzz/input.h"

#define MAX_OPERATIONS 1000u
#define DEVICES	       7u
#define MSIX_TABLE     0x800u
/* A routing register moves all wires, a function mask all vectors. */
#define CALLS_AN_ACCESS 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct card {
	struct pci_device pci;
	struct pci_msix *msix;
};

struct board {
	struct fake_hypervisor fake;
	struct io_bus *pio, *mmio;
	struct pci_bus *root;
	struct pci_root_port *port;
	struct loop *loop;
	struct lpc *lpc;
	struct card card;
	struct char_backend chr;
	struct device *devices[DEVICES];
	unsigned int count;
	int64_t now;
};

static void must(int err)
{
	if (err)
		abort(); /* building the board may not fail */
}

static int64_t board_now(void *opaque)
{
	return ((struct board *)opaque)->now;
}

static void nothing(void *opaque)
{
}

static void wire(void *sink, unsigned int input, bool level)
{
	struct board *b = sink;

	if (b->lpc)
		lpc_intx_set(b->lpc, input, level);
}

static void debug_exit(void *opaque, unsigned int status)
{
	must(status > 0xff || !(status & 1));
}

static size_t chr_write(struct char_backend *be, const uint8_t *buf, size_t len)
{
	return len;
}

static void chr_accept(struct char_backend *be)
{
}

static const struct char_backend_ops chr_ops = { .write = chr_write, .accept = chr_accept };

static uint64_t card_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct card *card = opaque;

	return pci_msix_claims(card->msix, offset) ? pci_msix_read(card->msix, offset, size) : 0;
}

static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct card *card = opaque;

	if (pci_msix_claims(card->msix, offset))
		pci_msix_write(card->msix, offset, size, value);
	else
		pci_device_set_intx(&card->pci, value & 1);
}

static void card_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	pci_msix_config_written(container_of(pci, struct card, pci)->msix, offset, len);
}

static void create_card(struct board *b)
{
	static const struct io_ops ops = { .read = card_read, .write = card_write };
	static const struct device_ops dev_ops = { .type = "card" };
	static const struct pci_id id = { .vendor = 0x1af4, .device = 0x1041 };
	struct pci_device *pci = &b->card.pci;

	device_init(&pci->dev, "card", &dev_ops);
	pci_device_init(pci, &id);
	pci->express = true;
	pci->config_written = card_written;
	pci_device_set_bar(pci, 0, 0x1000, false, true, true, &ops, &b->card);
	pci_device_set_bar(pci, 2, 0x20, true, false, false, &ops, &b->card);
	pci_device_set_pin(pci, 1);
	must(pci_msix_create(pci, &b->fake.hv, 4, 0, MSIX_TABLE, 0xc00, &b->card.msix));
	must(pci_bus_add(pci_root_port_bus(b->port), pci, 0));
}

static void create_chipset(struct board *b)
{
	struct pci_host host = {
		.pio = b->pio, .mmio = b->mmio, .intx_set = wire, .intx_sink = b,
	};
	struct host_bridge_config mch = { .id = "mch", .ecam_base = 0xb0000000,
					  .ecam_buses = 256 };
	struct lpc_config lpc = {
		.id = "lpc", .pio = b->pio, .hv = &b->fake.hv, .loop = b->loop, .pm_base = 0x600,
		.acpi_mode = true, .now_ns = board_now, .now_opaque = b,
		.events = { .power_off = nothing, .reset = nothing },
	};
	struct host_bridge *bridge;

	b->root = pci_bus_create(&host);
	mch.bus = lpc.bus = b->root;
	must(pci_bus_attach_cf8(b->root));
	must(host_bridge_create(&mch, &bridge));
	must(lpc_create(&lpc, &b->lpc));
	must(pci_root_port_create(b->root, PCI_DEVFN_OF(1, 0), "rp1", 1, &b->port));
	b->devices[b->count++] = host_bridge_device(bridge);
	b->devices[b->count++] = lpc_device(b->lpc);
	b->devices[b->count++] = pci_root_port_device(b->port);
	create_card(b);
}

static void create_ports(struct board *b)
{
	struct uart_config com1 = { .id = "com1", .pio = b->pio, .base = 0x3f8, .chr = &b->chr };
	struct rtc_config clock = { .id = "rtc", .pio = b->pio, .loop = b->loop,
				    .now_ns = board_now, .now_opaque = b };
	struct i8042_config kbc = { .id = "i8042", .pio = b->pio, .reset = nothing };
	struct debug_exit_config exit = { .id = "exit", .pio = b->pio, .exit = debug_exit };
	struct debug_exit *de;
	struct uart *uart;
	struct rtc *rtc;
	struct i8042 *i8042;

	b->chr.ops = &chr_ops;
	irq_line_init_gsi(&com1.irq, &b->fake.hv, 4);
	irq_line_init_gsi(&clock.irq, &b->fake.hv, 8);
	irq_line_init_gsi(&kbc.irq, &b->fake.hv, 1);
	must(uart_create(&com1, &uart));
	must(rtc_create(&clock, &rtc));
	must(i8042_create(&kbc, &i8042));
	must(debug_exit_create(&exit, &de));
	b->devices[b->count++] = uart_device(uart);
	b->devices[b->count++] = rtc_device(rtc);
	b->devices[b->count++] = i8042_device(i8042);
	b->devices[b->count++] = debug_exit_device(de);
}

static void type_bytes(struct board *b, struct input *in)
{
	const struct char_frontend *fe = b->chr.frontend;
	uint8_t bytes[16] = {0};
	size_t room = fe->room(fe->opaque), want = take(in, 1) % sizeof(bytes);

	for (size_t i = 0; i < want; i++)
		bytes[i] = (uint8_t)take(in, 1);
	if (room)
		fe->receive(fe->opaque, bytes, MIN(room, want));
}

static void operate(struct board *b, struct input *in)
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
		device_enter(b->devices[(op >> 4) % DEVICES]);
		b->devices[(op >> 4) % DEVICES]->ops->reset(b->devices[(op >> 4) % DEVICES]);
		device_leave(b->devices[(op >> 4) % DEVICES]);
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

static uint64_t port(struct board *b, uint16_t at)
{
	uint64_t value;

	io_bus_read(b->pio, at, 1, &value);
	return value;
}

/*
 * Reset as the machine does it, the youngest first: the chipset's windows are at home again, the
 * serial port sends and receives, clock and keyboard controller answer.
 */
static void recover(struct board *b)
{
	uint64_t value;

	device_enter(&b->card.pci.dev);
	pci_msix_reset(b->card.msix);
	pci_device_reset(&b->card.pci);
	device_leave(&b->card.pci.dev);
	for (unsigned int i = b->count; i--;) {
		device_enter(b->devices[i]);
		b->devices[i]->ops->reset(b->devices[i]);
		device_leave(b->devices[i]);
	}
	must(!io_bus_read(b->mmio, 0xb0000000, 4, &value) || value != 0x29c08086);
	must(!io_bus_read(b->pio, 0x608, 4, &value));
	must((port(b, 0x3f8 + 5) & 0x61) != 0x60);
	io_bus_write(b->pio, 0x3f8 + 7, 1, 0x5a);
	must(port(b, 0x3f8 + 7) != 0x5a);
	b->chr.frontend->receive(b->chr.frontend->opaque, (const uint8_t *)"x", 1);
	must(port(b, 0x3f8) != 'x');
	io_bus_write(b->pio, 0x70, 1, 0x0d);
	must(port(b, 0x71) != 0x80);
	io_bus_write(b->pio, 0x64, 1, 0xaa);
	must(port(b, 0x60) != 0x55);
}

static void destroy(struct board *b)
{
	pci_bus_remove(&b->card.pci);
	pci_msix_destroy(b->card.msix);
	device_fini(&b->card.pci.dev);
	while (b->count--)
		b->devices[b->count]->ops->destroy(b->devices[b->count]);
	pci_bus_destroy(b->root);
	io_bus_destroy(b->pio);
	io_bus_destroy(b->mmio);
	loop_destroy(b->loop);
	free(b);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init("fuzz", LOG_LEVEL_ERROR);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct board *b = calloc(1, sizeof(*b));
	struct oracle oracle;

	fake_hypervisor_init(&b->fake);
	b->pio = io_bus_create("pio");
	b->mmio = io_bus_create("mmio");
	b->loop = loop_create();
	b->now = 1709251198LL * 1000000000;
	create_chipset(b);
	create_ports(b);
	oracle_init(&oracle, NULL, &b->fake);
	for (unsigned int i = 0; i < MAX_OPERATIONS && in.left; i++) {
		oracle_begin(&oracle);
		operate(b, &in);
		oracle_end(&oracle, CALLS_AN_ACCESS);
	}
	for (unsigned int i = 0; i < b->count; i++)
		save_and_load(b->devices[i]);
	recover(b);
	oracle_fini(&oracle);
	destroy(b);
	return 0;
}
