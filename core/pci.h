/*
 * One PCI function: configuration space with write masks, BARs, INTx.
 * (PCI Local Bus 3.0, PCI Express Base; numbers of standard registers from <linux/pci_regs.h>.)
 *
 * Doors: configuration accesses and BAR accesses arrive on vCPU threads with dev->dev.lock held.
 */
#ifndef CORE_PCI_H
#define CORE_PCI_H

#include <linux/pci_regs.h>

#include "core/device.h"
#include "core/io_bus.h"
#include "core/irq.h"

#define PCI_CONFIG_SIZE 4096u /* bytes, extended space included */
#define PCI_BARS 6u
#define PCI_DEVFN_OF(slot, fn) ((uint8_t)(((slot) << 3) | (fn)))

struct pci_bus;
struct pci_device;

struct pci_bar {
	uint64_t size;		    /* bytes, a power of two; 0: absent */
	bool io;		    /* port I/O space */
	bool is_64bit;		    /* takes the next register too */
	bool prefetchable;
	struct io_range range;	    /* range.ops NULL: memory handled elsewhere (mapped into the guest) */
	bool mapped;		    /* decoded now */
	/* Told when decoding begins or ends, or the address moves (end then begin); may be NULL. */
	void (*changed)(struct pci_device *pci, unsigned int bar, bool mapped, uint64_t addr);
};

struct pci_device {
	struct device dev;
	struct pci_bus *bus;
	uint8_t devfn;
	bool express; /* extended configuration space is visible */
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t wmask[PCI_CONFIG_SIZE];	  /* 1: guest may write the bit */
	uint8_t w1cmask[PCI_CONFIG_SIZE]; /* 1: guest clears the bit by writing 1 */
	struct pci_bar bars[PCI_BARS];
	struct irq_line intx;
	uint16_t cap_end; /* where the next standard capability goes */
	/* Called after config[] has taken the masked write; offset and len as accessed. May be NULL. */
	void (*config_written)(struct pci_device *pci, uint16_t offset, unsigned int len);
	/* Called before a read is served from config[], to refresh it. May be NULL. */
	void (*config_reading)(struct pci_device *pci, uint16_t offset, unsigned int len);
};

struct pci_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
};

/* device_init must have been done on pci->dev. Fills the type 0 header and its masks. */
void pci_device_init(struct pci_device *pci, const struct pci_id *id);

/* Declares a BAR (before the device joins a bus). ops and opaque serve accesses; ops may be NULL. */
void pci_device_set_bar(struct pci_device *pci, unsigned int bar, uint64_t size, bool io,
			bool is_64bit, bool prefetchable, const struct io_ops *ops, void *opaque);

/* Declares an interrupt pin: 1 = INTA .. 4 = INTD. */
void pci_device_set_pin(struct pci_device *pci, uint8_t pin);

/* Appends a standard capability of `len` bytes (its first two are filled in); returns its offset,
 * 0 when there is no room. The content starts zero and read-only. */
uint16_t pci_device_add_cap(struct pci_device *pci, uint8_t cap_id, uint8_t len);

/* A guest's access, any alignment within 4096, len 1, 2 or 4. Lock held. */
uint32_t pci_device_config_read(struct pci_device *pci, uint16_t offset, unsigned int len);
void pci_device_config_write(struct pci_device *pci, uint16_t offset, unsigned int len,
			     uint32_t value);

/* Makes the mapped BARs agree with command register, BARs and bridge. Lock held. */
void pci_device_decode(struct pci_device *pci);

/* Power-on: INTx low and every bit the guest may write 0, in capabilities too; a device whose
 * registers start otherwise sets them afterwards. Declarations stay. */
void pci_device_reset(struct pci_device *pci);

/* Level of the function's INTx wire, honouring Interrupt Disable, and the status bit. Lock held. */
void pci_device_set_intx(struct pci_device *pci, bool level);

static inline bool pci_device_can_master(const struct pci_device *pci)
{
	return get_le16(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

uint16_t pci_device_requester(const struct pci_device *pci); /* bus << 8 | devfn, as numbered now */

/* Saved as one block by the devices that embed this. */
struct pci_state {
	uint8_t config[PCI_CONFIG_SIZE];
};
void pci_device_save(const struct pci_device *pci, struct pci_state *state);
/* Restores writable bits only and re-decodes the BARs. */
must_check int pci_device_load(struct pci_device *pci, const struct pci_state *state);

#endif
