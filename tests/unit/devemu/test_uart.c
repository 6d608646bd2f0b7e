#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "devemu/uart.h"
#include "devemu/uart_regs.h"
#include "tests/fakes/fake_hypervisor.h"

#define BASE 0x3f8u
#define GSI  4u

struct fixture {
	struct fake_hypervisor fake;
	struct io_bus *pio;
	struct char_backend be;
	uint8_t out[256];
	size_t out_len;
	unsigned int accepts;
	struct uart *uart;
	struct device *dev;
};

static size_t be_write(struct char_backend *be, const uint8_t *buf, size_t len)
{
	struct fixture *f = container_of(be, struct fixture, be);

	memcpy(f->out + f->out_len, buf, len);
	f->out_len += len;
	return len;
}

static void be_accept(struct char_backend *be)
{
	container_of(be, struct fixture, be)->accepts++;
}

static const struct char_backend_ops be_ops = { .write = be_write, .accept = be_accept };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct uart_config config = { .id = "com1", .base = BASE };

	fake_hypervisor_init(&f->fake);
	f->pio = io_bus_create("pio");
	f->be.ops = &be_ops;
	config.pio = f->pio;
	config.chr = &f->be;
	irq_line_init_gsi(&config.irq, &f->fake.hv, GSI);
	assert_int_equal(uart_create(&config, &f->uart), 0);
	f->dev = uart_device(f->uart);
	assert_int_equal(f->accepts, 1); /* a new port calls for input */
	f->accepts = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	io_bus_destroy(f->pio);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned int reg)
{
	uint64_t v;

	assert_true(io_bus_read(f->pio, BASE + reg, 1, &v));
	return (uint8_t)v;
}

static void out(struct fixture *f, unsigned int reg, uint8_t value)
{
	assert_true(io_bus_write(f->pio, BASE + reg, 1, value));
}

static void type(struct fixture *f, const char *text)
{
	f->be.frontend->receive(f->be.frontend->opaque, (const uint8_t *)text, strlen(text));
}

static size_t room(struct fixture *f)
{
	return f->be.frontend->room(f->be.frontend->opaque);
}

static void test_power_on_values(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_IIR), IIR_NONE);
	assert_int_equal(in(f, UART_LCR), 0);
	assert_int_equal(in(f, UART_MCR), 0);
	assert_int_equal(in(f, UART_LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(in(f, UART_MSR), MSR_CTS | MSR_DSR | MSR_DCD);
	out(f, UART_SCR, 0x5a);
	assert_int_equal(in(f, UART_SCR), 0x5a);
	out(f, UART_LCR, LCR_DLAB);
	out(f, UART_DLL, 1);
	out(f, UART_DLM, 2);
	assert_int_equal(in(f, UART_DLL), 1);
	assert_int_equal(in(f, UART_DLM), 2);
	out(f, UART_LCR, 3);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(f->out_len, 0);
}

static void test_output_and_the_transmitter_interrupt(void **state)
{
	struct fixture *f = *state;

	out(f, UART_THR, 'a');
	assert_int_equal(f->out_len, 1);
	assert_int_equal(f->out[0], 'a');
	out(f, UART_MCR, MCR_OUT2);
	assert_false(f->fake.level[GSI]);
	/* Enabling it reports an empty transmitter; being named takes it away. */
	out(f, UART_IER, IER_ETBEI);
	assert_true(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), IIR_THRE);
	assert_false(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), IIR_NONE);
	out(f, UART_THR, 'b');
	assert_true(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), IIR_THRE);
	/* Writing IER again without a change of the bit says nothing new. */
	out(f, UART_IER, IER_ETBEI);
	assert_int_equal(in(f, UART_IIR), IIR_NONE);
	/* Without OUT2 the wire is cut, the cause remains. */
	out(f, UART_THR, 'c');
	out(f, UART_MCR, 0);
	assert_false(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), IIR_THRE);
	/* A word is two bytes. */
	assert_true(io_bus_write(f->pio, BASE + UART_LCR, 2, MCR_RTS << 8 | 3));
	assert_int_equal(in(f, UART_LCR), 3);
	assert_int_equal(in(f, UART_MCR), MCR_RTS);
	assert_int_equal(f->out_len, 3);
}

static void test_input_one_byte_at_a_time_without_fifo(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, MCR_OUT2);
	out(f, UART_IER, IER_ERBFI);
	assert_int_equal(room(f), 1);
	type(f, "x");
	assert_true(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), IIR_DATA);
	assert_int_equal(in(f, UART_LSR), LSR_DR | LSR_THRE | LSR_TEMT);
	assert_int_equal(room(f), 0);
	assert_int_equal(in(f, UART_RBR), 'x');
	assert_int_equal(f->accepts, 1);
	assert_false(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_LSR), LSR_THRE | LSR_TEMT);
	assert_int_equal(in(f, UART_RBR), 0);
}

static void test_fifo_trigger_timeout_and_room(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, MCR_OUT2);
	out(f, UART_FCR, FCR_ENABLE | 0x80); /* trigger at 8 */
	out(f, UART_IER, IER_ERBFI);
	assert_int_equal(in(f, UART_IIR), IIR_FIFO | IIR_NONE);
	assert_int_equal(room(f), 16);
	type(f, "1234567");
	assert_int_equal(in(f, UART_IIR), IIR_FIFO | IIR_TIMEOUT);
	type(f, "8");
	assert_int_equal(in(f, UART_IIR), IIR_FIFO | IIR_DATA);
	type(f, "abcdefgh");
	assert_int_equal(room(f), 0);
	assert_int_equal(in(f, UART_RBR), '1');
	assert_int_equal(f->accepts, 0); /* asked for more once it has run empty */
	assert_int_equal(room(f), 1);
	for (const char *p = "2345678abcdefgh"; *p; p++)
		assert_int_equal(in(f, UART_RBR), *p);
	assert_int_equal(f->accepts, 1);
	assert_false(f->fake.level[GSI]);
	type(f, "zz");
	out(f, UART_FCR, FCR_ENABLE | FCR_CLEAR_RX);
	assert_false(in(f, UART_LSR) & LSR_DR);
	type(f, "zz");
	out(f, UART_FCR, 0); /* leaving FIFO mode clears it too */
	assert_false(in(f, UART_LSR) & LSR_DR);
	assert_int_equal(in(f, UART_IIR), IIR_NONE);
}

static void test_loopback_modem_and_errors(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, FCR_ENABLE);
	out(f, UART_MCR, MCR_LOOP | MCR_OUT2);
	assert_int_equal(in(f, UART_MSR), MSR_DCD | MSR_DCTS | MSR_DDSR);
	assert_int_equal(in(f, UART_MSR), MSR_DCD); /* deltas are read once */
	out(f, UART_MCR, MCR_LOOP | MCR_RTS | MCR_DTR | MCR_OUT1);
	assert_int_equal(in(f, UART_MSR),
			 MSR_CTS | MSR_DSR | MSR_RI | MSR_DCTS | MSR_DDSR | MSR_DDCD);
	out(f, UART_MCR, MCR_LOOP);
	assert_int_equal(in(f, UART_MSR), MSR_DCTS | MSR_DDSR | MSR_TERI);
	/* What is sent comes back, and nothing leaves. */
	assert_int_equal(room(f), 0);
	out(f, UART_THR, 'L');
	assert_int_equal(in(f, UART_RBR), 'L');
	assert_int_equal(f->out_len, 0);
	for (unsigned int i = 0; i < 17; i++)
		out(f, UART_THR, (uint8_t)('a' + i));
	assert_true(in(f, UART_LSR) & LSR_OE);
	assert_false(in(f, UART_LSR) & LSR_OE);
	assert_int_equal(in(f, UART_RBR), 'a'); /* the FIFO kept the old ones */
	out(f, UART_FCR, FCR_ENABLE | FCR_CLEAR_RX);
	/* A break arrives as a zero with its mark. */
	out(f, UART_IER, IER_ELSI);
	out(f, UART_LCR, LCR_BREAK);
	assert_int_equal(in(f, UART_IIR), IIR_FIFO | IIR_LINE);
	assert_false(f->fake.level[GSI]); /* loopback takes the wire away */
	assert_int_equal(in(f, UART_LSR) & (LSR_BI | LSR_FIFO | LSR_DR),
			 LSR_BI | LSR_FIFO | LSR_DR);
	assert_int_equal(in(f, UART_IIR), IIR_FIFO | IIR_NONE);
	assert_int_equal(in(f, UART_RBR), 0);
	/* Back on the line: modem changes interrupt, and waiting input is called for. */
	out(f, UART_IER, IER_EDSSI);
	out(f, UART_MCR, MCR_OUT2);
	assert_true(f->accepts > 0);
	assert_true(f->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), IIR_FIFO | IIR_MODEM);
	in(f, UART_MSR);
	assert_false(f->fake.level[GSI]);
}

static void test_causes_come_by_priority(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, MCR_LOOP); /* makes modem deltas */
	out(f, UART_MCR, 0);
	out(f, UART_IER, 0x0f);
	type(f, "1");
	type(f, "2"); /* overruns */
	assert_int_equal(in(f, UART_IIR), IIR_LINE);
	in(f, UART_LSR);
	assert_int_equal(in(f, UART_IIR), IIR_DATA);
	assert_int_equal(in(f, UART_RBR), '2'); /* the newer byte is kept */
	assert_int_equal(in(f, UART_IIR), IIR_THRE);
	assert_int_equal(in(f, UART_IIR), IIR_MODEM);
	in(f, UART_MSR);
	assert_int_equal(in(f, UART_IIR), IIR_NONE);
}

static void test_state_moves_to_a_fresh_port(void **state)
{
	struct fixture *f = *state, *twin;
	size_t size = f->dev->ops->state_size;
	uint8_t *saved = malloc(size);
	void *other;

	out(f, UART_FCR, FCR_ENABLE | 0x40);
	out(f, UART_MCR, MCR_OUT2 | MCR_DTR);
	out(f, UART_IER, IER_ERBFI | IER_ETBEI);
	out(f, UART_SCR, 0x77);
	type(f, "hello");
	assert_int_equal(in(f, UART_RBR), 'h');
	f->dev->ops->save(f->dev, saved);

	setup(&other);
	twin = other;
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 2), -EINVAL);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size - 1, 1), -EINVAL);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), 0);
	assert_true(twin->fake.level[GSI]);
	for (unsigned int reg = 1; reg < UART_REGS; reg++)
		assert_int_equal(in(f, reg), in(twin, reg));
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(in(f, UART_RBR), in(twin, UART_RBR));
	assert_int_equal(f->fake.level[GSI], twin->fake.level[GSI]);
	assert_int_equal(in(f, UART_IIR), in(twin, UART_IIR));
	/* Wild content changes nothing. */
	out(twin, UART_SCR, 0x11);
	memset(saved, 0xff, size);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), -EINVAL);
	assert_int_equal(in(twin, UART_SCR), 0x11);
	twin->dev->ops->reset(twin->dev);
	assert_int_equal(in(twin, UART_SCR), 0);
	teardown(&other);
	free(saved);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_power_on_values),
		T(test_output_and_the_transmitter_interrupt),
		T(test_input_one_byte_at_a_time_without_fifo),
		T(test_fifo_trigger_timeout_and_room),
		T(test_loopback_modem_and_errors),
		T(test_causes_come_by_priority),
		T(test_state_moves_to_a_fresh_port),
	};

	return cmocka_run_group_tests_name("uart", tests, NULL, NULL);
}
