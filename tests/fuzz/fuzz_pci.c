/*
 * A hostile guest on the PCI hierarchy: configuration space by both doors, BARs of all kinds on bus
 * 0 and behind root ports, MSI-X tables, bridge windows, with interrupts raised in between and the
 * machine's save, load and reset. A neighbour has to go on; after a reset and an assignment every
 * BAR answers and every function's message arrives.
 *
 * Input: operations, a byte each, then their arguments.
 */
#include <linux/pci.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/pci_msix.h"
#include "tests/fakes/oracle.h"
#include "tests/fuzz/input.h"

#define CARDS	       3u /* the first on bus 0, the others behind ports */
#define VECTORS	       4u
#define MAX_OPERATIONS 500u
#define ECAM	       0xb0000000ULL
#define NEIGHBOUR      0xd0000000ULL
#define TABLE	       0x800u
#define PBA	       0xc00u
/* A write may mask or unmask every vector of a function and put its message to the route. */
#define CALLS_AN_ACCESS (3 * VECTORS)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct card {
	struct pci_device pci;
	struct pci_msix *msix;
	unsigned int accesses;
};

struct world {
	struct fake_hypervisor hv;
	struct oracle oracle;
	struct io_bus *pio, *mmio;
	struct pci_bus *root;
	struct pci_root_port *ports[CARDS - 1];
	struct card cards[CARDS];
	unsigned int wires; /* that are up */
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void wire(void *sink, unsigned int input, bool level)
{
	((struct world *)sink)->wires += level ? 1 : -1u;
}

static uint64_t card_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct card *card = opaque;

	must(range_within(offset, size, 0x1000));
	card->accesses++;
	return pci_msix_claims(card->msix, offset) ? pci_msix_read(card->msix, offset, size) : 0;
}

static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct card *card = opaque;

	must(range_within(offset, size, 0x1000));
	card->accesses++;
	if (pci_msix_claims(card->msix, offset))
		pci_msix_write(card->msix, offset, size, value);
	else
		pci_device_set_intx(&card->pci, value & 1);
}

static void card_written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	pci_msix_config_written(container_of(pci, struct card, pci)->msix, offset, len);
}

static void card_reset(struct device *dev)
{
	struct card *card = container_of(dev, struct card, pci.dev);

	pci_msix_reset(card->msix);
	pci_device_reset(&card->pci);
}

static const struct device_ops card_ops = { .type = "card", .reset = card_reset };

static void create_card(struct world *w, unsigned int i)
{
	static const struct io_ops io = { .read = card_read, .write = card_write };
	static const struct pci_id id = { .vendor = 0x1af4, .device = 0x1041 };
	struct card *card = &w->cards[i];
	struct pci_device *pci = &card->pci;

	device_init(&pci->dev, "card", &card_ops);
	pci_device_init(pci, &id);
	pci->express = i != 0;
	pci->config_written = card_written;
	pci_device_set_bar(pci, 0, 0x1000, false, i == 1, i == 1, &io, card);
	pci_device_set_bar(pci, 2, 0x100, true, false, false, &io, card);
	pci_device_set_bar(pci, 3, 0x1000, false, false, false, &io, card);
	pci_device_set_pin(pci, (uint8_t)(i + 1));
	must(!pci_msix_create(pci, &w->hv.hv, VECTORS, 0, TABLE, PBA, &card->msix));
	must(!pci_bus_add(i ? pci_root_port_bus(w->ports[i - 1]) : w->root, pci,
			  i ? 0 : PCI_DEVFN_OF(6, 1)));
}

static void assign(struct world *w)
{
	const struct pci_windows windows = {
		.mmio32_base = 0xc0000000, .mmio32_size = NEIGHBOUR - 0xc0000000,
		.mmio64_base = 0x100000000, .mmio64_size = 0x100000000,
		.io_base = 0xc000, .io_size = 0x3f00,
	};

	must(!pci_bus_assign(w->root, &windows, NULL, NULL));
	/* The neighbour has been given a place like all others: back to where it is looked for. */
	pci_bus_config_write(w->root, 0, w->oracle.pci.devfn, PCI_BASE_ADDRESS_0, 4,
			     (uint32_t)NEIGHBOUR);
}

static void create(struct world *w)
{
	struct pci_host host = { .intx_set = wire, .intx_sink = w };

	fake_hypervisor_init(&w->hv);
	host.pio = w->pio = io_bus_create("pio");
	host.mmio = w->mmio = io_bus_create("mmio");
	w->root = pci_bus_create(&host);
	must(!pci_bus_attach_cf8(w->root) && !pci_bus_set_ecam(w->root, ECAM, 256));
	oracle_init(&w->oracle, NULL, &w->hv);
	oracle_neighbour_join(&w->oracle, w->root, w->mmio, PCI_DEVFN_OF(9, 0), NEIGHBOUR);
	for (unsigned int i = 0; i < CARDS - 1; i++)
		must(!pci_root_port_create(w->root, PCI_DEVFN_OF(i + 1, 0), "port",
					   (uint8_t)(i + 1), &w->ports[i]));
	for (unsigned int i = 0; i < CARDS; i++)
		create_card(w, i);
	assign(w);
}

static void destroy(struct world *w)
{
	for (unsigned int i = CARDS; i--;) {
		pci_bus_remove(&w->cards[i].pci);
		pci_msix_destroy(w->cards[i].msix);
		device_fini(&w->cards[i].pci.dev);
	}
	for (unsigned int i = 0; i < CARDS - 1; i++) {
		struct device *port = pci_root_port_device(w->ports[i]);

		port->ops->destroy(port);
	}
	oracle_fini(&w->oracle);
	must(w->wires == 0);
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		must(!w->hv.routes[i].used);
	pci_bus_destroy(w->root);
	io_bus_destroy(w->pio);
	io_bus_destroy(w->mmio);
}

static struct pci_device *function(struct world *w, uint8_t which)
{
	unsigned int i = which % (2 * CARDS - 1);

	if (i < CARDS)
		return &w->cards[i].pci;
	return container_of(pci_root_port_device(w->ports[i - CARDS]), struct pci_device, dev);
}

/* Where the function is now, by the configuration window. */
static uint64_t config_address(struct world *w, uint8_t which)
{
	return ECAM + ((uint64_t)pci_device_requester(function(w, which)) << 12);
}

static void write_config(struct world *w, struct input *in, uint8_t op)
{
	uint64_t at = config_address(w, op >> 4);
	unsigned int size = 1u << (take(in, 1) & 3);

	at += take(in, 2) & 0xfff;
	io_bus_write(w->mmio, at, size, take(in, size));
	io_bus_read(w->mmio, at, size, &at);
}

/* Base address registers and windows with values that mean something. */
static void place(struct world *w, struct input *in, uint8_t op)
{
	static const uint32_t bases[] = { 0xc0000000, 0xc0100000, 0xc0101000, 0xd0000000,
					  0xb0000000, 0xfee00000, 0xc000, 0xffffffff };
	uint8_t what = (uint8_t)take(in, 1);

	io_bus_write(w->mmio, config_address(w, op >> 4) + 0x10 + 4 * (what & 7u), 4,
		     bases[what >> 5] + (take(in, 1) << 12));
}

static void access_bar(struct world *w, struct input *in, uint8_t op)
{
	struct pci_device *pci = &w->cards[(op >> 4) % CARDS].pci;
	uint8_t how = (uint8_t)take(in, 1);
	const struct pci_bar *bar = &pci->bars[(const uint8_t[]){ 0, 0, 2, 3 }[how & 3]];
	unsigned int size = 1u << (how >> 2 & 3);
	uint64_t addr = bar->range.base + (take(in, 2) & 0xfff), value;
	struct io_bus *bus = bar->io ? w->pio : w->mmio;

	if (how & 0x80)
		io_bus_read(bus, addr, size, &value);
	else
		io_bus_write(bus, addr, bar->io ? MIN(size, 4u) : size, take(in, size));
}

static void save_and_load(struct world *w, uint8_t which)
{
	static struct pci_state pci;
	static struct pci_msix_state msix;
	struct card *card = &w->cards[which % CARDS];

	device_enter(&card->pci.dev);
	pci_device_save(&card->pci, &pci);
	pci_msix_save(card->msix, &msix);
	must(!pci_device_load(&card->pci, &pci) && !pci_msix_load(card->msix, &msix));
	device_leave(&card->pci.dev);
}

static void operate(struct world *w, struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);
	uint64_t value;

	switch (op & 15) {
	case 0 ... 2:
		write_config(w, in, op);
		break;
	case 3 ... 4:
		place(w, in, op);
		break;
	case 5:
		io_bus_write(w->pio, 0xcf8, 4, take(in, 4));
		break;
	case 6:
		value = take(in, 1);
		io_bus_write(w->pio, 0xcf8 + (value & 7), 1u << (value >> 4 & 1), take(in, 2));
		break;
	case 7:
		io_bus_write(w->pio, 0xcfc, 4, take(in, 4));
		io_bus_read(w->pio, 0xcfc, 4, &value);
		break;
	case 8 ... 10:
		access_bar(w, in, op);
		break;
	case 11:
		pci_msix_notify(w->cards[op >> 4 & 1].msix, (unsigned int)take(in, 1));
		break;
	case 12:
		w->hv.fail = op & 0x80 ? -1 : 0;
		break;
	case 13:
		save_and_load(w, op >> 4);
		break;
	case 14:
		io_bus_write(w->mmio, take(in, 8), 1u << (op >> 4 & 3), 0);
		break;
	default:
		io_bus_read(w->mmio, ECAM + (take(in, 4) & 0xfffffff), 1u << (op >> 4 & 3), &value);
		break;
	}
}

static void reset(struct device *dev)
{
	device_enter(dev);
	dev->ops->reset(dev);
	device_leave(dev);
}

/* As the machine does it, the youngest first; then everything has to be there. */
static void recover(struct world *w)
{
	for (unsigned int i = CARDS; i--;)
		reset(&w->cards[i].pci.dev);
	for (unsigned int i = 0; i < CARDS - 1; i++)
		reset(pci_root_port_device(w->ports[i]));
	must(w->wires == 0);
	assign(w);
	for (unsigned int i = 0; i < CARDS; i++) {
		struct card *card = &w->cards[i];
		unsigned int before = card->accesses, messages = w->hv.message_count;
		uint64_t bar = card->pci.bars[0].range.base, value;

		must(card->pci.bars[0].mapped && io_bus_read(w->mmio, bar, 4, &value) &&
		     card->accesses == before + 1);
		pci_bus_config_write(w->root, (uint8_t)(pci_device_requester(&card->pci) >> 8),
				     card->pci.devfn, PCI_COMMAND, 2,
				     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
		pci_device_config_write(&card->pci, card->pci.config[PCI_CAPABILITY_LIST] + 2, 2,
					PCI_MSIX_FLAGS_ENABLE);
		io_bus_write(w->mmio, bar + TABLE, 8, 0xfee00000);
		io_bus_write(w->mmio, bar + TABLE + 8, 8, 0x40 + i);
		pci_msix_notify(card->msix, 0);
		fake_hypervisor_poll(&w->hv);
		must(w->hv.message_count == messages + 1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init("fuzz_pci", LOG_LEVEL_ERROR);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof(*w));
	struct input in = { data, size };

	must(w);
	create(w);
	for (unsigned int i = 0; i < MAX_OPERATIONS && in.left; i++) {
		oracle_begin(&w->oracle);
		operate(w, &in);
		oracle_end(&w->oracle, CALLS_AN_ACCESS);
		fake_hypervisor_poll(&w->hv);
		oracle_neighbour_check(&w->oracle);
	}
	w->hv.fail = 0;
	recover(w);
	destroy(w);
	free(w);
	return 0;
}
