/*
 * What keeps this host from giving devices to guests, all at once, each with what was found, why it
 * matters and the command that mends it. Reads files only. Any thread.
 */
#ifndef VFIO_HOST_DOCTOR_H
#define VFIO_HOST_DOCTOR_H

#include "vfio/pci_inventory.h"

enum doctor_status {
	DOCTOR_OK,
	DOCTOR_UNKNOWN, /* nothing this host shows says so or so */
	DOCTOR_WARNING, /* works, but less well; or will, after the command */
	DOCTOR_BLOCKER, /* does not work */
};

struct doctor_check {
	const char *id; /* "iommu-group": what was looked at */
	char subject[32]; /* which one, where there are several: an address, a module, a node */
	enum doctor_status status;
	char found[384];
	const char *why;
	char fix[256]; /* empty: nothing to do, or nothing a command can do */
};

/* Of the process that starts guests. */
struct doctor_self {
	uint64_t memlock; /* bytes, hard limit; UINT64_MAX: none */
	bool may_raise;	  /* CAP_SYS_RESOURCE */
};

typedef void (*doctor_fn)(void *opaque, const struct doctor_check *check);

/* fn is called with every check, also those that are well. */
void host_doctor_run(const struct host_roots *roots, const struct pci_inventory *inventory,
		     const struct doctor_self *self, doctor_fn fn, void *opaque);

#endif
