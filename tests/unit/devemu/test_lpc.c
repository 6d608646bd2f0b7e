#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "devemu/lpc.h"
#include "devemu/lpc_regs.h"
#include "tests/fakes/fake_hypervisor.h"

#define PM 0x600u

struct fixture {
	struct fake_hypervisor fake;
	struct io_bus *pio, *mmio;
	struct pci_bus *bus;
	struct loop *loop;
	struct lpc *lpc;
	struct device *dev;
	int64_t now;
	unsigned int power_offs, resets;
};

static int64_t fake_now(void *opaque)
{
	return ((struct fixture *)opaque)->now;
}

static void powered_off(void *opaque)
{
	((struct fixture *)opaque)->power_offs++;
}

static void was_reset(void *opaque)
{
	((struct fixture *)opaque)->resets++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct pci_host host = {0};
	struct lpc_config config = {
		.id = "lpc", .hv = &f->fake.hv, .pm_base = PM, .acpi_mode = true,
		.pirq_irq = { 10, 11, 0, 0, 10, 10, 11, 5 },
		.events = { .power_off = powered_off, .reset = was_reset, .opaque = f },
		.now_ns = fake_now, .now_opaque = f,
	};

	fake_hypervisor_init(&f->fake);
	host.pio = f->pio = io_bus_create("pio");
	host.mmio = f->mmio = io_bus_create("mmio");
	config.bus = f->bus = pci_bus_create(&host);
	config.pio = f->pio;
	config.loop = f->loop = loop_create();
	f->now = 5000;
	assert_int_equal(pci_bus_attach_cf8(f->bus), 0);
	assert_int_equal(lpc_create(&config, &f->lpc), 0);
	f->dev = lpc_device(f->lpc);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	pci_bus_destroy(f->bus);
	io_bus_destroy(f->pio);
	io_bus_destroy(f->mmio);
	loop_destroy(f->loop);
	free(f);
	return 0;
}

static uint64_t in(struct fixture *f, uint16_t port, unsigned int size)
{
	uint64_t v;

	assert_true(io_bus_read(f->pio, port, size, &v));
	return v;
}

static void out(struct fixture *f, uint16_t port, unsigned int size, uint64_t value)
{
	assert_true(io_bus_write(f->pio, port, size, value));
}

static void cfg(struct fixture *f, uint16_t reg, unsigned int len, uint32_t value)
{
	pci_bus_config_write(f->bus, 0, LPC_DEVFN, reg, len, value);
}

static void test_identity_and_pm_base(void **state)
{
	struct fixture *f = *state;
	uint64_t v;

	assert_int_equal(pci_bus_config_read(f->bus, 0, LPC_DEVFN, 0, 4), 0x29188086);
	assert_int_equal(pci_bus_config_read(f->bus, 0, LPC_DEVFN, 0x40, 4), PM | 1);
	assert_int_equal(in(f, PM + LPC_PM1_CNT, 2), 1);
	cfg(f, 0x40, 4, 0xb000);
	assert_false(io_bus_read(f->pio, PM, 2, &v));
	assert_int_equal(in(f, 0xb000 + LPC_PM1_CNT, 2), 1);
	cfg(f, 0x44, 1, 0);
	assert_false(io_bus_read(f->pio, 0xb000, 2, &v));
	cfg(f, 0x40, 4, 0xc80); /* over the PCI configuration ports: it stays away */
	cfg(f, 0x44, 1, 0x80);
	assert_false(io_bus_read(f->pio, 0xc80, 2, &v));
	assert_int_equal(in(f, 0xcf8, 4), 0);
	device_enter(f->dev);
	f->dev->ops->reset(f->dev);
	device_leave(f->dev);
	assert_int_equal(in(f, PM + LPC_PM1_CNT, 2), 1);
}

static void test_power_button_raises_the_sci(void **state)
{
	struct fixture *f = *state;

	lpc_power_button(f->lpc);
	assert_false(f->fake.level[LPC_SCI_GSI]);
	assert_int_equal(in(f, PM + LPC_PM1_EVT, 2), PM1_PWRBTN_STS);
	out(f, PM + LPC_PM1_EVT + 2, 2, PM1_PWRBTN_STS);
	assert_true(f->fake.level[LPC_SCI_GSI]);
	/* Without SCI_EN no interrupt. */
	out(f, PM + LPC_PM1_CNT, 2, 0);
	assert_false(f->fake.level[LPC_SCI_GSI]);
	out(f, PM + LPC_PM1_CNT, 2, PM1_CNT_SCI_EN);
	assert_true(f->fake.level[LPC_SCI_GSI]);
	out(f, PM + LPC_PM1_EVT, 2, PM1_GBL_STS);
	assert_true(f->fake.level[LPC_SCI_GSI]);
	out(f, PM + LPC_PM1_EVT + 1, 1, PM1_PWRBTN_STS >> 8); /* byte access to the high half */
	assert_false(f->fake.level[LPC_SCI_GSI]);
	assert_int_equal(in(f, PM + LPC_PM1_EVT, 4), (uint64_t)PM1_PWRBTN_STS << 16);
}

static void test_general_purpose_events(void **state)
{
	struct fixture *f = *state;

	out(f, PM + LPC_GPE0 + 8 + 4, 1, 0x02);
	lpc_gpe_raise(f->lpc, 1);
	assert_false(f->fake.level[LPC_SCI_GSI]);
	lpc_gpe_raise(f->lpc, 33);
	assert_true(f->fake.level[LPC_SCI_GSI]);
	lpc_gpe_raise(f->lpc, 64);
	assert_int_equal(in(f, PM + LPC_GPE0, 4), 2);
	assert_int_equal(in(f, PM + LPC_GPE0 + 4, 4), 2);
	out(f, PM + LPC_GPE0 + 4, 4, 0xffffffff);
	assert_false(f->fake.level[LPC_SCI_GSI]);
	assert_int_equal(in(f, PM + LPC_GPE0, 4), 2);
}

static void test_sleep_types(void **state)
{
	struct fixture *f = *state;

	out(f, PM + LPC_PM1_CNT, 2, 5 << 10 | PM1_CNT_SLP_EN | 1); /* S3: not here */
	assert_int_equal(f->power_offs, 0);
	assert_true(in(f, PM + LPC_PM1_EVT, 2) & PM1_WAK_STS);
	out(f, PM + LPC_PM1_CNT, 2, LPC_SLP_TYP_S5 << 10 | 1);
	assert_int_equal(f->power_offs, 0);
	out(f, PM + LPC_PM1_CNT, 2, LPC_SLP_TYP_S5 << 10 | PM1_CNT_SLP_EN | 1);
	assert_int_equal(f->power_offs, 1);
	assert_false(in(f, PM + LPC_PM1_CNT, 2) & PM1_CNT_SLP_EN);
	out(f, PM + LPC_PM1_CNT + 1, 1, (LPC_SLP_TYP_S5 << 10 | PM1_CNT_SLP_EN) >> 8);
	assert_int_equal(f->power_offs, 2);
	assert_true(in(f, PM + LPC_PM1_CNT, 1) & PM1_CNT_SCI_EN);
}

static void test_pm_timer_counts_and_overflows(void **state)
{
	struct fixture *f = *state;
	uint64_t start = in(f, PM + LPC_PM_TMR, 4);

	assert_int_equal(start, 0);
	f->now += 1000000000;
	assert_int_equal(in(f, PM + LPC_PM_TMR, 4), PM_TIMER_HZ);
	out(f, PM + LPC_PM1_EVT + 2, 2, PM1_TMROF_STS);
	assert_false(f->fake.level[LPC_SCI_GSI]);
	f->now += 1400000000; /* past half a turn of 24 bits */
	assert_true(in(f, PM + LPC_PM_TMR, 4) >= 1u << 23);
	assert_true(f->fake.level[LPC_SCI_GSI]);
	out(f, PM + LPC_PM1_EVT, 2, PM1_TMROF_STS);
	assert_false(f->fake.level[LPC_SCI_GSI]);
	f->now += 2400000000LL;
	assert_true(in(f, PM + LPC_PM_TMR, 4) < 1u << 24);
	assert_true(in(f, PM + LPC_PM1_EVT, 2) & PM1_TMROF_STS);
	/* Years later it still counts right. */
	f->now += 100LL * 365 * 86400 * 1000000000 / 2;
	start = in(f, PM + LPC_PM_TMR, 4);
	f->now += 1000000;
	assert_in_range((in(f, PM + LPC_PM_TMR, 4) - start) & 0xffffff, 3579, 3580);
}

static void test_reset_control(void **state)
{
	struct fixture *f = *state;

	out(f, 0xcf9, 1, 0x02);
	assert_int_equal(f->resets, 0);
	out(f, 0xcf9, 1, 0x06);
	assert_int_equal(f->resets, 1);
	assert_int_equal(in(f, 0xcf9, 1), 0x06);
	out(f, 0xcf9, 1, 0x06); /* no edge */
	assert_int_equal(f->resets, 1);
	out(f, 0xcf8, 4, 0x80000604); /* a double word is an address */
	assert_int_equal(f->resets, 1);
}

static void test_wires_go_to_the_ioapic_and_by_routing_to_the_pic(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(lpc_pirq_of(0, 0), 4);
	assert_int_equal(lpc_pirq_of(3, 2), 4 + (3 + 2) % 4);
	assert_int_equal(lpc_pirq_of(31, 1), 1);
	lpc_intx_set(f->lpc, 4 * 4 + 0, true); /* slot 4 INTA: PIRQE */
	assert_true(f->fake.level[20]);
	assert_true(f->fake.level[10]);
	lpc_intx_set(f->lpc, 5 * 4 + 3, true); /* slot 5 INTD: PIRQE too */
	lpc_intx_set(f->lpc, 4 * 4 + 1, true); /* slot 4 INTB: PIRQF, the same PIC input */
	lpc_intx_set(f->lpc, 4 * 4 + 0, false);
	assert_true(f->fake.level[20]);
	lpc_intx_set(f->lpc, 5 * 4 + 3, false);
	assert_false(f->fake.level[20]);
	assert_true(f->fake.level[21]);
	assert_true(f->fake.level[10]);
	/* Routed elsewhere while it is high, then nowhere, then to where none may go. */
	cfg(f, 0x69, 1, 0x0b);
	assert_false(f->fake.level[10]);
	assert_true(f->fake.level[11]);
	cfg(f, 0x69, 1, 0x80);
	assert_false(f->fake.level[11]);
	cfg(f, 0x69, 1, 0x02);
	assert_false(f->fake.level[2]);
	lpc_intx_set(f->lpc, 4 * 4 + 1, false);
	assert_false(f->fake.level[21]);
	lpc_intx_set(f->lpc, 128, true); /* no such wire */
	/* PIRQD is not routed to the PIC. */
	lpc_intx_set(f->lpc, 31 * 4 + 3, true);
	assert_true(f->fake.level[19]);
	for (unsigned int gsi = 0; gsi < 16; gsi++)
		assert_false(f->fake.level[gsi]);
}

static void test_state_moves_to_a_fresh_bridge(void **state)
{
	struct fixture *f = *state, *twin;
	size_t size = f->dev->ops->state_size;
	uint8_t *saved = malloc(size);
	void *other;
	struct lpc *lpc;

	cfg(f, 0x40, 4, 0xb000);
	cfg(f, 0x68, 1, 0x05);
	out(f, 0xb000 + LPC_PM1_EVT + 2, 2, PM1_PWRBTN_STS);
	out(f, 0xb000 + LPC_GPE0 + 8, 4, 0xff);
	out(f, 0xcf9, 1, 0x02);
	lpc_power_button(f->lpc);
	f->now += 123456789;
	assert_int_equal(f->dev->ops->quiesce(f->dev), 0);
	f->dev->ops->save(f->dev, saved);
	setup(&other);
	twin = other;
	twin->now = 777;
	lpc = twin->lpc;
	device_enter(twin->dev);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 7), -EINVAL);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), 0);
	assert_int_equal(twin->dev->ops->resume(twin->dev), 0);
	device_leave(twin->dev);
	assert_true(twin->fake.level[LPC_SCI_GSI]);
	for (unsigned int at = 0; at < LPC_PM_SIZE; at += 4)
		assert_int_equal(in(f, (uint16_t)(0xb000 + at), 4),
				 in(twin, (uint16_t)(0xb000 + at), 4));
	f->now += 1000;
	twin->now += 1000;
	/* Where within a tick it was saved is lost. */
	assert_in_range(in(f, 0xb000 + LPC_PM_TMR, 4) + 1 - in(twin, 0xb000 + LPC_PM_TMR, 4), 0, 2);
	lpc_intx_set(lpc, 4 * 4, true);
	assert_true(twin->fake.level[5]);
	assert_int_equal(in(twin, 0xcf9, 1), 0x02);
	/* Unacceptable content changes nothing. */
	memset(saved + sizeof(struct pci_state), 0xff, size - sizeof(struct pci_state));
	device_enter(twin->dev);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), -EINVAL);
	device_leave(twin->dev);
	assert_int_equal(in(twin, 0xb000 + LPC_PM1_EVT, 2), PM1_PWRBTN_STS);
	teardown(&other);
	free(saved);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity_and_pm_base),
		T(test_power_button_raises_the_sci),
		T(test_general_purpose_events),
		T(test_sleep_types),
		T(test_pm_timer_counts_and_overflows),
		T(test_reset_control),
		T(test_wires_go_to_the_ioapic_and_by_routing_to_the_pic),
		T(test_state_moves_to_a_fresh_bridge),
	};

	return cmocka_run_group_tests_name("lpc", tests, NULL, NULL);
}
