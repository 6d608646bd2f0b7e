/* What a check of the doctor is, and what all of them are given. Any thread. */
#ifndef VFIO_DOCTOR_H
#define VFIO_DOCTOR_H

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

#endif
