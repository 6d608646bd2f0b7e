/*
 * A 16550A serial port (National PC16550D data sheet) at 8 I/O ports.
 *
 * Time is not modelled: a byte written is sent at once, so the transmitter is always empty, and a
 * byte below the FIFO's trigger level counts as timed out at once, so it interrupts without
 * waiting four character times. As on a PC, OUT2 of the modem control register gates the wire.
 *
 * Register accesses: vCPU threads, under the device's lock. Input: the io thread, from the char
 * backend. The backend is borrowed and must outlive the port.
 */
#ifndef DEVEMU_UART_H
#define DEVEMU_UART_H

#include "core/char_backend.h"
#include "core/device.h"
#include "core/io_bus.h"
#include "core/irq.h"

struct uart;

struct uart_config {
	const char *id;
	struct io_bus *pio;
	uint16_t base;		  /* 3F8h for COM1 */
	struct irq_line irq;	  /* GSI 4 for COM1 */
	struct char_backend *chr; /* NULL: nothing is plugged in */
};

must_check int uart_create(const struct uart_config *config, struct uart **uart);
struct device *uart_device(struct uart *uart);

#endif
