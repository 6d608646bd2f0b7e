#include "devemu/uart.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "devemu/uart_regs.h"

#define FIFO_SIZE 16u

/* Version 1. The FIFO is a ring; with FIFOs off it holds one byte. */
struct uart_state {
	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	uint8_t overrun;     /* LSR_OE, until LSR is read */
	uint8_t thre_raised; /* the transmitter emptied and nobody was told yet */
	uint8_t head;
	uint8_t count;
	uint8_t data[FIFO_SIZE];
	uint8_t error[FIFO_SIZE]; /* LSR_BI of each byte */
};

struct uart {
	struct device dev;
	struct io_bus *pio;
	struct io_range range;
	struct irq_line irq;
	struct char_backend *chr;
	struct char_frontend frontend;
	struct uart_state s;
	bool starved; /* the backend found no room and waits to be told */
	_Atomic uint64_t received, sent, overruns;
};

static unsigned int rx_size(const struct uart *u)
{
	return u->s.fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned int rx_trigger(const struct uart *u)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return u->s.fcr & FCR_ENABLE ? levels[u->s.fcr >> 6] : 1;
}

static uint8_t lsr_value(const struct uart *u)
{
	const struct uart_state *s = &u->s;
	uint8_t lsr = LSR_THRE | LSR_TEMT | s->overrun;

	if (!s->count)
		return lsr;
	/* The error bits speak of the byte at the top of the FIFO; bit 7 of any in it. */
	lsr |= LSR_DR | s->error[s->head];
	for (unsigned int i = 0; i < s->count && (s->fcr & FCR_ENABLE); i++)
		if (s->error[(s->head + i) % FIFO_SIZE])
			lsr |= LSR_FIFO;
	return lsr;
}

/* The most urgent cause (PC16550D table V). */
static uint8_t irq_cause(const struct uart *u)
{
	const struct uart_state *s = &u->s;

	if ((s->ier & IER_ELSI) && (lsr_value(u) & LSR_LINE))
		return IIR_LINE;
	if ((s->ier & IER_ERBFI) && s->count)
		return s->count >= rx_trigger(u) ? IIR_DATA : IIR_TIMEOUT;
	if ((s->ier & IER_ETBEI) && s->thre_raised)
		return IIR_THRE;
	if ((s->ier & IER_EDSSI) && (s->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC the OUT2 pin gates the wire; loopback holds that pin inactive. */
static void update_irq(struct uart *u)
{
	bool gate = (u->s.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_line_set(&u->irq, gate && irq_cause(u) != IIR_NONE);
}

static void rx_push(struct uart *u, uint8_t byte, uint8_t error)
{
	struct uart_state *s = &u->s;

	if (s->count == rx_size(u)) {
		atomic_fetch_add_explicit(&u->overruns, 1, memory_order_relaxed);
		s->overrun = LSR_OE;
		/* Without FIFOs the new byte takes the old one's place; with them it is lost. */
		if (s->fcr & FCR_ENABLE)
			return;
		s->count = 0;
	}
	s->data[(s->head + s->count) % FIFO_SIZE] = byte;
	s->error[(s->head + s->count) % FIFO_SIZE] = error;
	s->count++;
}

static void tell_backend(struct uart *u)
{
	if (!u->starved || u->s.count || (u->s.mcr & MCR_LOOP))
		return;
	u->starved = false;
	if (u->chr && u->chr->ops->accept)
		u->chr->ops->accept(u->chr);
}

static uint8_t rx_pop(struct uart *u)
{
	struct uart_state *s = &u->s;
	uint8_t byte = s->data[s->head];

	if (!s->count)
		return 0;
	s->head = (s->head + 1) % FIFO_SIZE;
	s->count--;
	tell_backend(u);
	return byte;
}

static void rx_clear(struct uart *u)
{
	u->s.head = 0;
	u->s.count = 0;
	tell_backend(u);
}

/* What the modem pins say: a far end that is always ready, or our own outputs in loopback. */
static uint8_t modem_inputs(const struct uart *u)
{
	uint8_t mcr = u->s.mcr, in = 0;

	if (!(mcr & MCR_LOOP))
		return u->chr ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
	if (mcr & MCR_RTS)
		in |= MSR_CTS;
	if (mcr & MCR_DTR)
		in |= MSR_DSR;
	if (mcr & MCR_OUT1)
		in |= MSR_RI;
	if (mcr & MCR_OUT2)
		in |= MSR_DCD;
	return in;
}

static void update_modem(struct uart *u)
{
	uint8_t in = modem_inputs(u), changed = (u->s.msr ^ in) & 0xf0;

	u->s.msr = in | (u->s.msr & MSR_DELTAS);
	if (changed & MSR_CTS)
		u->s.msr |= MSR_DCTS;
	if (changed & MSR_DSR)
		u->s.msr |= MSR_DDSR;
	if ((changed & MSR_RI) && !(in & MSR_RI)) /* trailing edge only */
		u->s.msr |= MSR_TERI;
	if (changed & MSR_DCD)
		u->s.msr |= MSR_DDCD;
}

static void transmit(struct uart *u, uint8_t byte)
{
	if (u->s.mcr & MCR_LOOP) {
		rx_push(u, byte, 0);
	} else if (u->chr) {
		u->chr->ops->write(u->chr, &byte, 1);
		atomic_fetch_add_explicit(&u->sent, 1, memory_order_relaxed);
	}
	u->s.thre_raised = 1;
}

static void write_fcr(struct uart *u, uint8_t value)
{
	if ((u->s.fcr ^ value) & FCR_ENABLE)
		rx_clear(u);
	if (!(value & FCR_ENABLE)) {
		u->s.fcr = 0;
		return;
	}
	if (value & FCR_CLEAR_RX)
		rx_clear(u);
	u->s.fcr = value & (FCR_ENABLE | FCR_TRIGGER);
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t cause = irq_cause(u);

	/* Being named is what clears this cause. */
	if (cause == IIR_THRE)
		u->s.thre_raised = 0;
	return cause | (u->s.fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t lsr = lsr_value(u);

	u->s.overrun = 0;
	if (u->s.count)
		u->s.error[u->s.head] = 0;
	return lsr;
}

static uint8_t read_reg(struct uart *u, unsigned int reg)
{
	bool dlab = u->s.lcr & LCR_DLAB;
	uint8_t value;

	switch (reg) {
	case UART_RBR:
		return dlab ? u->s.dll : rx_pop(u);
	case UART_IER:
		return dlab ? u->s.dlm : u->s.ier;
	case UART_IIR:
		return read_iir(u);
	case UART_LCR:
		return u->s.lcr;
	case UART_MCR:
		return u->s.mcr;
	case UART_LSR:
		return read_lsr(u);
	case UART_MSR:
		value = u->s.msr;
		u->s.msr &= ~MSR_DELTAS;
		return value;
	default:
		return u->s.scr;
	}
}

static void write_ier(struct uart *u, uint8_t value)
{
	/* Enabling it tells of an empty transmitter at once. */
	if ((value & IER_ETBEI) && !(u->s.ier & IER_ETBEI))
		u->s.thre_raised = 1;
	u->s.ier = value & 0x0f;
}

static void write_lcr(struct uart *u, uint8_t value)
{
	bool breaks = (value & LCR_BREAK) && !(u->s.lcr & LCR_BREAK);

	u->s.lcr = value;
	if (breaks && (u->s.mcr & MCR_LOOP))
		rx_push(u, 0, LSR_BI);
}

static void write_reg(struct uart *u, unsigned int reg, uint8_t value)
{
	bool dlab = u->s.lcr & LCR_DLAB;

	switch (reg) {
	case UART_THR:
		if (dlab)
			u->s.dll = value;
		else
			transmit(u, value);
		break;
	case UART_IER:
		if (dlab)
			u->s.dlm = value;
		else
			write_ier(u, value);
		break;
	case UART_FCR:
		write_fcr(u, value);
		break;
	case UART_LCR:
		write_lcr(u, value);
		break;
	case UART_MCR:
		u->s.mcr = value & MCR_BITS;
		update_modem(u);
		tell_backend(u);
		break;
	case UART_SCR:
		u->s.scr = value;
		break;
	default:
		break; /* LSR and MSR are read-only */
	}
}

/* An 8-bit part on the bus: a wider access is split into bytes. */
static uint64_t uart_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct uart *u = opaque;
	uint64_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value |= (uint64_t)read_reg(u, (unsigned int)offset + i) << (8 * i);
	update_irq(u);
	return value;
}

static void uart_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct uart *u = opaque;

	for (unsigned int i = 0; i < size; i++)
		write_reg(u, (unsigned int)offset + i, (uint8_t)(value >> (8 * i)));
	update_irq(u);
}

static const struct io_ops uart_io_ops = { .read = uart_read, .write = uart_write };

static size_t frontend_room(void *opaque)
{
	struct uart *u = opaque;
	size_t room;

	device_enter(&u->dev);
	room = u->s.mcr & MCR_LOOP ? 0 : rx_size(u) - u->s.count;
	if (!room)
		u->starved = true;
	device_leave(&u->dev);
	return room;
}

static void frontend_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct uart *u = opaque;

	device_enter(&u->dev);
	for (size_t i = 0; i < len; i++)
		rx_push(u, buf[i], 0);
	if (u->s.count == rx_size(u))
		u->starved = true;
	atomic_fetch_add_explicit(&u->received, len, memory_order_relaxed);
	update_irq(u);
	device_leave(&u->dev);
}

static void uart_reset(struct device *dev)
{
	struct uart *u = container_of(dev, struct uart, dev);

	memset(&u->s, 0, sizeof(u->s));
	u->s.dll = 12; /* 9600 baud, as a PC's firmware leaves it */
	u->s.msr = modem_inputs(u);
	tell_backend(u);
	update_irq(u);
}

static void uart_save(struct device *dev, void *state)
{
	memcpy(state, &container_of(dev, struct uart, dev)->s, sizeof(struct uart_state));
}

static int uart_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct uart *u = container_of(dev, struct uart, dev);
	struct uart_state s;

	if (version != 1 || size != sizeof(s))
		return -EINVAL;
	memcpy(&s, state, sizeof(s));
	if (s.head >= FIFO_SIZE || s.count > (s.fcr & FCR_ENABLE ? FIFO_SIZE : 1) ||
	    (s.ier & ~0x0f) || (s.mcr & ~MCR_BITS) || (s.fcr & ~(FCR_ENABLE | FCR_TRIGGER)))
		return -EINVAL;
	u->s = s;
	/* Whoever waits asks again; a device that is full says so again. */
	u->starved = true;
	tell_backend(u);
	update_irq(u);
	return 0;
}

static void uart_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct uart *u = container_of(dev, struct uart, dev);

	emit(opaque, "rx_bytes", atomic_load_explicit(&u->received, memory_order_relaxed));
	emit(opaque, "tx_bytes", atomic_load_explicit(&u->sent, memory_order_relaxed));
	emit(opaque, "rx_overruns", atomic_load_explicit(&u->overruns, memory_order_relaxed));
	emit(opaque, "tx_dropped",
	     u->chr ? atomic_load_explicit(&u->chr->dropped, memory_order_relaxed) : 0);
}

static void uart_destroy(struct device *dev)
{
	struct uart *u = container_of(dev, struct uart, dev);

	if (u->chr)
		u->chr->frontend = NULL;
	io_bus_remove(u->pio, &u->range);
	device_fini(dev);
	free(u);
}

static const struct device_ops uart_ops = {
	.type = "uart",
	.reset = uart_reset,
	.state_version = 1,
	.state_size = sizeof(struct uart_state),
	.save = uart_save,
	.load = uart_load,
	.counters = uart_counters,
	.destroy = uart_destroy,
};

int uart_create(const struct uart_config *config, struct uart **out)
{
	struct uart *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	device_init(&u->dev, config->id, &uart_ops);
	u->pio = config->pio;
	u->irq = config->irq;
	u->range = (struct io_range){
		.name = config->id, .base = config->base, .size = UART_REGS, .ops = &uart_io_ops,
		.opaque = u, .lock = &u->dev.lock,
	};
	err = io_bus_add(u->pio, &u->range);
	if (err) {
		device_fini(&u->dev);
		free(u);
		return err;
	}
	u->chr = config->chr;
	uart_reset(&u->dev);
	u->frontend = (struct char_frontend){
		.room = frontend_room, .receive = frontend_receive, .opaque = u,
	};
	if (u->chr)
		u->chr->frontend = &u->frontend;
	/* Whoever looked for a port before there was one looks again. */
	u->starved = true;
	tell_backend(u);
	*out = u;
	return 0;
}

struct device *uart_device(struct uart *u)
{
	return &u->dev;
}
