#include "tests/unit/devemu/board_rig.h"

#include <linux/pci.h>
#include <stdlib.h>

#include "devemu/debug_exit.h"
#include "devemu/host_bridge.h"
#include "devemu/i8042.h"
#include "devemu/rtc.h"
#include "devemu/uart.h"

#define MSIX_TABLE 0x800u

static void must(int err)
{
	if (err)
		abort(); /* building the board may not fail */
}

static int64_t board_now(void *opaque)
{
	return ((struct board_rig *)opaque)->now;
}

static void on_reset(void *opaque)
{
	((struct board_rig *)opaque)->resets++;
}

static void on_power_off(void *opaque)
{
	((struct board_rig *)opaque)->power_offs++;
}

static void wire(void *sink, unsigned int input, bool level)
{
	struct board_rig *b = sink;

	if (b->lpc)
		lpc_intx_set(b->lpc, input, level);
}

static void debug_exit(void *opaque, unsigned int status)
{
	must(status > 0xff || !(status & 1));
	((struct board_rig *)opaque)->exits++;
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
	struct board_card *card = opaque;

	return pci_msix_claims(card->msix, offset) ? pci_msix_read(card->msix, offset, size) : 0;
}

static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct board_card *card = opaque;

	if (pci_msix_claims(card->msix, offset))
		pci_msix_write(card->msix, offset, size, value);
	else
		pci_device_set_intx(&card->pci, value & 1);
}

static void card_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	pci_msix_config_written(container_of(pci, struct board_card, pci)->msix, offset, len);
}

static void create_card(struct board_rig *b)
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

static void create_chipset(struct board_rig *b)
{
	struct pci_host host = {
		.pio = b->pio, .mmio = b->mmio, .intx_set = wire, .intx_sink = b,
	};
	struct host_bridge_config mch = { .id = "mch", .ecam_base = BOARD_RIG_ECAM,
					  .ecam_buses = 256 };
	struct lpc_config lpc = {
		.id = "lpc", .pio = b->pio, .hv = &b->fake.hv, .loop = b->loop, .pm_base = BOARD_RIG_PM,
		.acpi_mode = true, .now_ns = board_now, .now_opaque = b,
		.events = { .power_off = on_power_off, .reset = on_reset, .opaque = b },
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

static void create_ports(struct board_rig *b)
{
	struct uart_config com1 = { .id = "com1", .pio = b->pio, .base = 0x3f8, .chr = &b->chr };
	struct rtc_config clock = { .id = "rtc", .pio = b->pio, .loop = b->loop,
				    .now_ns = board_now, .now_opaque = b };
	struct i8042_config kbc = { .id = "i8042", .pio = b->pio, .reset = on_reset,
				    .opaque = b };
	struct debug_exit_config exit = { .id = "exit", .pio = b->pio, .exit = debug_exit,
					  .opaque = b };
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

struct board_rig *board_rig_create(void)
{
	struct board_rig *b = calloc(1, sizeof(*b));

	must(!b);
	fake_hypervisor_init(&b->fake);
	b->pio = io_bus_create("pio");
	b->mmio = io_bus_create("mmio");
	b->loop = loop_create();
	b->now = 1709251198LL * 1000000000;
	create_chipset(b);
	create_ports(b);
	return b;
}

uint8_t board_rig_port(struct board_rig *b, uint16_t at)
{
	uint64_t value;

	io_bus_read(b->pio, at, 1, &value);
	return (uint8_t)value;
}

void board_rig_recover(struct board_rig *b)
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
	must(!io_bus_read(b->mmio, BOARD_RIG_ECAM, 4, &value) || value != 0x29c08086);
	must(!io_bus_read(b->pio, BOARD_RIG_PM + 8, 4, &value));
	must((board_rig_port(b, 0x3f8 + 5) & 0x61) != 0x60);
	io_bus_write(b->pio, 0x3f8 + 7, 1, 0x5a);
	must(board_rig_port(b, 0x3f8 + 7) != 0x5a);
	b->chr.frontend->receive(b->chr.frontend->opaque, (const uint8_t *)"x", 1);
	must(board_rig_port(b, 0x3f8) != 'x');
	io_bus_write(b->pio, 0x70, 1, 0x0d);
	must(board_rig_port(b, 0x71) != 0x80);
	io_bus_write(b->pio, 0x64, 1, 0xaa);
	must(board_rig_port(b, 0x60) != 0x55);
}

void board_rig_destroy(struct board_rig *b)
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
