/*
 * What keeps this host from giving devices to guests, all at once, each with what was found, why it
 * matters and the command that mends it. Reads files only. Any thread.
 */
#ifndef VFIO_HOST_DOCTOR_H
#define VFIO_HOST_DOCTOR_H

#include "vfio/doctor.h"

/* fn is called with every check, also those that are well. */
void host_doctor_run(const struct host_roots *roots, const struct pci_inventory *inventory,
		     const struct doctor_self *self, doctor_fn fn, void *opaque);

#endif
