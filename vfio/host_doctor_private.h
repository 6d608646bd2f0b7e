/* What the files of the doctor share. */
#ifndef VFIO_HOST_DOCTOR_PRIVATE_H
#define VFIO_HOST_DOCTOR_PRIVATE_H

#include "vfio/host_doctor.h"

struct doctor {
	const struct host_roots *roots;
	const struct pci_inventory *inventory;
	const struct doctor_self *self;
	doctor_fn fn;
	void *opaque;
	char cmdline[2048]; /* of the kernel; what is longer is not looked at */
};

#define DOCTOR_FIRMWARE "systemctl reboot --firmware-setup"

/* The command line has this word, or one that begins with it where it ends in '='. */
bool doctor_cmdline_has(const struct doctor *doctor, const char *word);

/* host_doctor_iommu.c */
void doctor_iommu(struct doctor *doctor);
void doctor_remapping(struct doctor *doctor);
/* host_doctor_pci.c */
void doctor_modules(struct doctor *doctor);
void doctor_functions(struct doctor *doctor);

#endif
