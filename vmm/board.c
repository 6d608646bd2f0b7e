#include "vmm/board.h"

#include <errno.h>
#include <stdio.h>

#include "devemu/debug_exit.h"
#include "devemu/host_bridge.h"
#include "devemu/i8042.h"
#include "devemu/rtc.h"
#include "devemu/uart.h"
#include "vmm/acpi.h"

#define COM1_BASE 0x3f8u
#define COM1_GSI 4u
#define KEYBOARD_GSI 1u
#define RTC_GSI 8u

/* Where firmware routes the PCI wires for guests that use the PIC: interrupts 10 and 11. */
static const uint8_t pirq_irq[8] = {10, 11, 10, 11, 10, 11, 10, 11};

uint8_t board_irq_of(void *opaque, unsigned int slot, unsigned int pin)
{
	return pirq_irq[lpc_pirq_of(slot, pin)];
}

/* The wires exist before the bridge they end in. */
static void intx_set(void *sink, unsigned int input, bool level)
{
	struct board *board = sink;

	if (board->lpc)
		lpc_intx_set(board->lpc, input, level);
}

static int fail(char *why, size_t why_size, const char *what, int ret)
{
	snprintf(why, why_size, "%s cannot be made: %s", what, strerror(-ret));
	return ret;
}

static int create_bridges(struct board *board, const struct board_config *config, char *why,
			  size_t why_size)
{
	const struct pci_host host = {
		.pio = config->pio, .mmio = config->mmio, .intx_set = intx_set, .intx_sink = board};
	struct host_bridge_config hb_config = {
		.id = "host-bridge",
		.ecam_base = LAYOUT_ECAM_BASE,
		.ecam_buses = LAYOUT_ECAM_BUSES,
	};
	struct lpc_config lpc_config = {
		.id = "lpc",
		.pio = config->pio,
		.hv = config->hv,
		.loop = config->loop,
		.events = {config->power_off, config->reset, config->opaque},
		.pm_base = ACPI_PM_BASE,
		.acpi_mode = true,
	};
	struct host_bridge *bridge;
	int ret;

	board->root = pci_bus_create(&host);
	if (!board->root)
		return fail(why, why_size, "the PCI bus", -ENOMEM);
	ret = pci_bus_attach_cf8(board->root);
	if (ret < 0)
		return fail(why, why_size, "port CF8h", ret);
	hb_config.bus = lpc_config.bus = board->root;
	ret = host_bridge_create(&hb_config, &bridge);
	if (ret < 0)
		return fail(why, why_size, "the host bridge", ret);
	TAILQ_INSERT_TAIL(board->devices, host_bridge_device(bridge), link);
	memcpy(lpc_config.pirq_irq, pirq_irq, sizeof(pirq_irq));
	ret = lpc_create(&lpc_config, &board->lpc);
	if (ret < 0)
		return fail(why, why_size, "the LPC bridge", ret);
	TAILQ_INSERT_TAIL(board->devices, lpc_device(board->lpc), link);
	return 0;
}

static int create_uart(struct board *board, const struct board_config *config)
{
	struct uart_config uart_config = {
		.id = "com1", .pio = config->pio, .base = COM1_BASE, .chr = config->console};
	struct uart *uart;
	int ret;

	irq_line_init_gsi(&uart_config.irq, config->hv, COM1_GSI);
	ret = uart_create(&uart_config, &uart);
	if (!ret)
		TAILQ_INSERT_TAIL(board->devices, uart_device(uart), link);
	return ret;
}

static int create_rtc(struct board *board, const struct board_config *config)
{
	struct rtc_config rtc_config = {
		.id = "rtc",
		.pio = config->pio,
		.loop = config->loop,
		.ram_below_4g = config->layout->low_ram,
		.ram_above_4g = config->layout->high_ram,
	};
	struct rtc *rtc;
	int ret;

	irq_line_init_gsi(&rtc_config.irq, config->hv, RTC_GSI);
	ret = rtc_create(&rtc_config, &rtc);
	if (!ret)
		TAILQ_INSERT_TAIL(board->devices, rtc_device(rtc), link);
	return ret;
}

static int create_i8042(struct board *board, const struct board_config *config)
{
	struct i8042_config i8042_config = {
		.id = "i8042",
		.pio = config->pio,
		.reset = config->reset,
		.opaque = config->opaque,
	};
	struct i8042 *i8042;
	int ret;

	irq_line_init_gsi(&i8042_config.irq, config->hv, KEYBOARD_GSI);
	ret = i8042_create(&i8042_config, &i8042);
	if (!ret)
		TAILQ_INSERT_TAIL(board->devices, i8042_device(i8042), link);
	return ret;
}

static int create_debug_exit(struct board *board, const struct board_config *config)
{
	const struct debug_exit_config de_config = {
		.id = "debug-exit",
		.pio = config->pio,
		.exit = config->debug,
		.opaque = config->opaque,
	};
	struct debug_exit *de;
	int ret;

	if (!config->debug_exit)
		return 0;
	ret = debug_exit_create(&de_config, &de);
	if (!ret)
		TAILQ_INSERT_TAIL(board->devices, debug_exit_device(de), link);
	return ret;
}

int board_create(struct board *board, struct device_list *devices,
		 const struct board_config *config, char *why, size_t why_size)
{
	static const struct {
		const char *what;
		int (*create)(struct board *board, const struct board_config *config);
	} parts[] = {
		{"the serial port", create_uart},
		{"the clock", create_rtc},
		{"the keyboard controller", create_i8042},
		{"the debug-exit port", create_debug_exit},
	};
	int ret;

	*board = (struct board){.devices = devices};
	ret = create_bridges(board, config, why, why_size);
	for (size_t i = 0; i < ARRAY_SIZE(parts) && !ret; i++) {
		ret = parts[i].create(board, config);
		if (ret < 0)
			fail(why, why_size, parts[i].what, ret);
	}
	return ret;
}

void board_destroy(struct board *board)
{
	if (board->root)
		pci_bus_destroy(board->root);
	board->root = NULL;
}
