#include "devemu/lpc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/log.h"
#include "devemu/lpc_pm.h"
#include "devemu/lpc_regs.h"

#define PIC_IRQS 16u
/* The PIC inputs a PIRQ may be routed to (ICH9 §13.1.16): 3..7, 9..12, 14, 15. */
#define PIC_ALLOWED 0xdef8u
#define INTX_INPUTS (32u * 4)

/* Version 1. The wires' levels come back from the devices that pull them. */
struct lpc_state {
	struct pci_state pci;
	struct lpc_pm_state pm;
	uint8_t reset_control;
	uint8_t pad[7];
};

/* Interrupt routing, under a lock of its own: devices pull wires with theirs held. */
struct lpc_routing {
	pthread_mutex_t lock;
	bool input[INTX_INPUTS];
	uint16_t pulled[LPC_PIRQ_COUNT]; /* inputs that are high */
	uint8_t route[LPC_PIRQ_COUNT];
	struct irq_line apic[LPC_PIRQ_COUNT];
	struct irq_line pic[PIC_IRQS];
};

struct lpc {
	struct pci_device pci;
	struct io_bus *pio;
	struct io_range pm_range;
	struct io_range reset_range;
	struct pci_bus *bus;
	struct lpc_pm pm;
	struct lpc_routing routing;
	struct lpc_events events;
	uint8_t reset_control;
	uint16_t firmware_pm_base;
	uint8_t firmware_pirq[LPC_PIRQ_COUNT];
	_Atomic uint64_t resets;
};

/* Slots up to 24 are wired round robin to PIRQE-H, those of the chipset straight to PIRQA-D. */
unsigned int lpc_pirq_of(unsigned int slot, unsigned int pin)
{
	return slot < 25 ? 4 + (slot + pin) % 4 : pin % 4;
}

static unsigned int pirq_reg(unsigned int pirq)
{
	return pirq < 4 ? LPC_PIRQ_A_D + pirq : LPC_PIRQ_E_H + pirq - 4;
}

/* Drives the PIC input that several PIRQs may share. routing.lock held. */
static void drive_pic(struct lpc_routing *r, unsigned int irq)
{
	bool level = false;

	for (unsigned int pirq = 0; pirq < LPC_PIRQ_COUNT; pirq++)
		if (r->route[pirq] == irq)
			level |= r->pulled[pirq] > 0;
	irq_line_set(&r->pic[irq], level);
}

void lpc_intx_set(void *sink, unsigned int input, bool level)
{
	struct lpc *lpc = sink;
	struct lpc_routing *r = &lpc->routing;
	unsigned int pirq = lpc_pirq_of(input / 4, input % 4);

	if (input >= INTX_INPUTS)
		return;
	pthread_mutex_lock(&r->lock);
	if (r->input[input] != level) {
		r->input[input] = level;
		r->pulled[pirq] += level ? 1 : -1;
		irq_line_set(&r->apic[pirq], r->pulled[pirq] > 0);
		if (r->route[pirq])
			drive_pic(r, r->route[pirq]);
	}
	pthread_mutex_unlock(&r->lock);
}

static void follow_routing(struct lpc *lpc)
{
	struct lpc_routing *r = &lpc->routing;

	pthread_mutex_lock(&r->lock);
	for (unsigned int pirq = 0; pirq < LPC_PIRQ_COUNT; pirq++) {
		uint8_t reg = lpc->pci.config[pirq_reg(pirq)], irq = reg & 0x0f;

		r->route[pirq] = !(reg & PIRQ_OFF) && (PIC_ALLOWED & (1u << irq)) ? irq : 0;
	}
	for (unsigned int irq = 1; irq < PIC_IRQS; irq++)
		if (PIC_ALLOWED & (1u << irq))
			drive_pic(r, irq);
	pthread_mutex_unlock(&r->lock);
}

static void follow_pm_base(struct lpc *lpc)
{
	uint16_t base = get_le16(lpc->pci.config + LPC_PMBASE) & 0xff80;
	bool on = (lpc->pci.config[LPC_ACPI_CNTL] & ACPI_CNTL_EN) && base;

	if (on && lpc->pm_range.size && lpc->pm_range.base == base)
		return;
	if (lpc->pm_range.size)
		io_bus_remove(lpc->pio, &lpc->pm_range);
	lpc->pm_range.size = 0;
	if (!on)
		return;
	lpc->pm_range.base = base;
	lpc->pm_range.size = LPC_PM_SIZE;
	if (io_bus_add(lpc->pio, &lpc->pm_range) < 0) {
		log_guest("%s: PMBASE %xh collides; the ACPI registers stay off the bus",
			  lpc->pci.dev.id, base);
		lpc->pm_range.size = 0;
	}
}

static void lpc_config_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	struct lpc *lpc = container_of(pci, struct lpc, pci);

	if (range_overlaps(offset, len, LPC_PMBASE, 5))
		follow_pm_base(lpc);
	if (range_overlaps(offset, len, LPC_PIRQ_A_D, LPC_PIRQ_E_H + 4 - LPC_PIRQ_A_D))
		follow_routing(lpc);
}

static uint64_t reset_control_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((struct lpc *)opaque)->reset_control;
}

/* A reset happens as RST_CPU goes from 0 to 1; what kind of reset makes no difference here. */
static void reset_control_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct lpc *lpc = opaque;
	bool pulled = (value & RST_CNT_RST_CPU) && !(lpc->reset_control & RST_CNT_RST_CPU);

	lpc->reset_control = value & (RST_CNT_SYS_RST | RST_CNT_RST_CPU | RST_CNT_FULL_RST);
	if (!pulled)
		return;
	atomic_fetch_add_explicit(&lpc->resets, 1, memory_order_relaxed);
	if (lpc->events.reset)
		lpc->events.reset(lpc->events.opaque);
}

static const struct io_ops reset_control_ops = {
	.read = reset_control_read,
	.write = reset_control_write,
};

static void lpc_reset(struct device *dev)
{
	struct lpc *lpc = container_of(dev, struct lpc, pci.dev);
	uint8_t *config = lpc->pci.config;

	pci_device_reset(&lpc->pci);
	put_le32(config + LPC_PMBASE, lpc->firmware_pm_base | PCI_BASE_ADDRESS_SPACE_IO);
	config[LPC_ACPI_CNTL] = lpc->firmware_pm_base ? ACPI_CNTL_EN : 0;
	for (unsigned int pirq = 0; pirq < LPC_PIRQ_COUNT; pirq++)
		config[pirq_reg(pirq)] = lpc->firmware_pirq[pirq] ? lpc->firmware_pirq[pirq]
								  : PIRQ_OFF;
	lpc->reset_control = 0;
	lpc_pm_reset(&lpc->pm);
	follow_pm_base(lpc);
	follow_routing(lpc);
}

static int lpc_quiesce(struct device *dev)
{
	lpc_pm_quiesce(&container_of(dev, struct lpc, pci.dev)->pm);
	return 0;
}

static int lpc_resume(struct device *dev)
{
	lpc_pm_resume(&container_of(dev, struct lpc, pci.dev)->pm);
	return 0;
}

static void lpc_save(struct device *dev, void *state)
{
	struct lpc *lpc = container_of(dev, struct lpc, pci.dev);
	struct lpc_state *s = state;

	memset(s, 0, sizeof(*s));
	pci_device_save(&lpc->pci, &s->pci);
	lpc_pm_save(&lpc->pm, &s->pm);
	s->reset_control = lpc->reset_control;
}

static int lpc_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct lpc *lpc = container_of(dev, struct lpc, pci.dev);
	struct pci_state before;
	const struct lpc_state *s = state;
	int err;

	if (version != 1 || size != sizeof(*s))
		return -EINVAL;
	pci_device_save(&lpc->pci, &before);
	err = pci_device_load(&lpc->pci, &s->pci);
	if (err)
		return err;
	err = lpc_pm_load(&lpc->pm, &s->pm);
	if (err)
		return pci_device_load(&lpc->pci, &before) ? -EINVAL : err;
	lpc->reset_control = s->reset_control &
			     (RST_CNT_SYS_RST | RST_CNT_RST_CPU | RST_CNT_FULL_RST);
	follow_pm_base(lpc);
	follow_routing(lpc);
	return 0;
}

static void lpc_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct lpc *lpc = container_of(dev, struct lpc, pci.dev);

	emit(opaque, "resets", atomic_load_explicit(&lpc->resets, memory_order_relaxed));
	emit(opaque, "sleeps", atomic_load_explicit(&lpc->pm.sleeps, memory_order_relaxed));
	emit(opaque, "power_buttons",
	     atomic_load_explicit(&lpc->pm.buttons, memory_order_relaxed));
}

static void lpc_destroy(struct device *dev)
{
	struct lpc *lpc = container_of(dev, struct lpc, pci.dev);

	pci_bus_set_reset_control(lpc->bus, NULL);
	if (lpc->pm_range.size)
		io_bus_remove(lpc->pio, &lpc->pm_range);
	pci_bus_remove(&lpc->pci);
	lpc_pm_fini(&lpc->pm);
	pthread_mutex_destroy(&lpc->routing.lock);
	device_fini(dev);
	free(lpc);
}

static const struct device_ops lpc_ops = {
	.type = "lpc",
	.reset = lpc_reset,
	.quiesce = lpc_quiesce,
	.resume = lpc_resume,
	.state_version = 1,
	.state_size = sizeof(struct lpc_state),
	.save = lpc_save,
	.load = lpc_load,
	.counters = lpc_counters,
	.destroy = lpc_destroy,
};

static void init_function(struct lpc *lpc, const struct lpc_config *config)
{
	static const struct pci_id id = {
		.vendor = 0x8086, .device = 0x2918, .class_code = 0x060100, .revision = 2,
	};
	struct pci_device *pci = &lpc->pci;

	pci_device_init(pci, &id);
	pci->config_written = lpc_config_written;
	/* A board with more than one chipset function may have them beside this one. */
	pci->config[PCI_HEADER_TYPE] |= 0x80;
	pci->config[LPC_PMBASE] = PCI_BASE_ADDRESS_SPACE_IO;
	put_le16(pci->wmask + LPC_PMBASE, 0xff80);
	pci->wmask[LPC_ACPI_CNTL] = 0x87;
	for (unsigned int pirq = 0; pirq < LPC_PIRQ_COUNT; pirq++)
		pci->wmask[pirq_reg(pirq)] = PIRQ_OFF | 0x0f;
	memcpy(lpc->firmware_pirq, config->pirq_irq, sizeof(lpc->firmware_pirq));
	lpc->firmware_pm_base = config->pm_base;
}

static void init_routing(struct lpc_routing *r, struct hypervisor *hv)
{
	pthread_mutex_init(&r->lock, NULL);
	for (unsigned int i = 0; i < LPC_PIRQ_COUNT; i++)
		irq_line_init_gsi(&r->apic[i], hv, LPC_PIRQ_GSI + i);
	for (unsigned int i = 0; i < PIC_IRQS; i++)
		irq_line_init_gsi(&r->pic[i], hv, i);
}

int lpc_create(const struct lpc_config *config, struct lpc **out)
{
	struct lpc *lpc = calloc(1, sizeof(*lpc));
	int err;

	if (!lpc)
		return -ENOMEM;
	device_init(&lpc->pci.dev, config->id, &lpc_ops);
	lpc->bus = config->bus;
	lpc->pio = config->pio;
	lpc->events = config->events;
	init_function(lpc, config);
	init_routing(&lpc->routing, config->hv);
	/* Only its place changes later: a vCPU that has found it may call it as it is moved. */
	lpc->pm_range = (struct io_range){
		.name = "acpi", .ops = &lpc_pm_io_ops, .opaque = &lpc->pm,
		.lock = &lpc->pci.dev.lock,
	};
	err = lpc_pm_init(&lpc->pm, config, &lpc->pci.dev);
	if (err)
		goto err_routing;
	err = pci_bus_add(config->bus, &lpc->pci, LPC_DEVFN);
	if (err)
		goto err_pm;
	lpc->reset_range = (struct io_range){
		.name = "reset-control", .size = 1, .ops = &reset_control_ops, .opaque = lpc,
		.lock = &lpc->pci.dev.lock,
	};
	pci_bus_set_reset_control(config->bus, &lpc->reset_range);
	lpc_reset(&lpc->pci.dev);
	*out = lpc;
	return 0;
err_pm:
	lpc_pm_fini(&lpc->pm);
err_routing:
	pthread_mutex_destroy(&lpc->routing.lock);
	device_fini(&lpc->pci.dev);
	free(lpc);
	return err;
}

struct device *lpc_device(struct lpc *lpc)
{
	return &lpc->pci.dev;
}

void lpc_power_button(struct lpc *lpc)
{
	device_enter(&lpc->pci.dev);
	lpc_pm_power_button(&lpc->pm);
	device_leave(&lpc->pci.dev);
}

void lpc_gpe_raise(struct lpc *lpc, unsigned int bit)
{
	device_enter(&lpc->pci.dev);
	lpc_pm_gpe_raise(&lpc->pm, bit);
	device_leave(&lpc->pci.dev);
}
