/*
 * What holds whatever a guest does to a device, for unit tests and fuzz targets alike: only memory
 * that the guest handed out for writing changes, an access or a queue pass asks a bounded amount of
 * the host, a neighbour on the same bus goes on, and after a reset the device works again. A broken
 * promise is said on standard error and aborts. That the process lives and the sanitizers are
 * silent needs no code. One thread.
 */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include "core/guest_memory.h"
#include "core/pci_bus.h"
#include "tests/fakes/fake_hypervisor.h"

#define ORACLE_SPANS 8192u
#define ORACLE_REGS 2u /* of the neighbour, 32 bits each */

struct oracle_span {
	uint64_t start, end; /* end exclusive */
};

struct oracle {
	struct guest_memory *memory;
	struct fake_hypervisor *hv;
	uint8_t *before; /* RAM as it was looked at last, slot after slot */
	struct oracle_span legal[ORACLE_SPANS];
	unsigned int spans;
	bool tangled; /* the guest lets devices write what they read: all of RAM is legal */
	unsigned long calls; /* of the hypervisor when the work began */
	/* The neighbour: a function whose BAR 0 holds registers that keep what is written. */
	struct pci_device pci;
	struct pci_bus *bus;
	struct io_bus *mmio;
	uint64_t bar;
	uint32_t regs[ORACLE_REGS];
	uint32_t expect;
};

/* hv may be NULL: then work is not counted. */
void oracle_init(struct oracle *o, struct guest_memory *memory, struct fake_hypervisor *hv);
void oracle_fini(struct oracle *o);

/* Memory */

/* Fills RAM with bytes that tell their address, so that a stray write shows; then looks. */
void oracle_paint(struct oracle *o);
/* From now on RAM may not change, except where allowed afterwards. */
void oracle_look(struct oracle *o);
/* The same, but what was allowed remains so: requests are still under way. */
void oracle_look_on(struct oracle *o);
/* The guest handed this out for writing; what lies outside RAM does not matter. */
void oracle_allow(struct oracle *o, gpa_t gpa, uint64_t len);
/*
 * The same for a split ring: its used part and all that any descriptor names as writable, in the
 * table and in indirect tables it points to, reached by a chain or not. Call it before the device
 * has a turn.
 */
void oracle_allow_ring(struct oracle *o, uint32_t size, gpa_t desc, gpa_t used);
/* Aborts if RAM changed where it may not. */
void oracle_check_memory(struct oracle *o);

/* Work */

void oracle_begin(struct oracle *o);
/* Aborts if more than `most` calls of the hypervisor were made since. */
void oracle_end(struct oracle *o, unsigned int most);

/* The neighbour */

/* Joins the bus at devfn, its BAR at `bar`; leaves in oracle_fini. */
void oracle_neighbour_join(struct oracle *o, struct pci_bus *bus, struct io_bus *mmio,
			   uint8_t devfn, uint64_t bar);
/* Aborts unless it answers where it was put. */
void oracle_neighbour_check(struct oracle *o);

/* After a reset */

/* Resets the device as the machine does and aborts unless `happy` returns true afterwards. */
void oracle_recovers(struct device *dev, bool (*happy)(void *opaque), void *opaque);

#endif
