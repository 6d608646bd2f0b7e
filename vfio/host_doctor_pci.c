/* VFIO's modules, and the functions that can be given away. */
#include <stdio.h>
#include <string.h>

#include "vfio/host_doctor_parts.h"

/* A list of the kernel's modules names this file. */
static bool list_has(const struct doctor *doctor, const char *release, const char *list,
		     const char *file)
{
	char path[SYSFS_PATH_SIZE], line[1024], word[64];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s", doctor->roots->modules, release, list);
	snprintf(word, sizeof(word), "/%s.ko", file);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, word);
	fclose(f);
	return found;
}

static void doctor_module(struct doctor *doctor, const char *file, const char *module,
			  const char *why)
{
	struct doctor_check check = { .id = "vfio-module", .why = why };
	char release[128];

	if (sysfs_read_text(release, sizeof(release), "%s/sys/kernel/osrelease",
			    doctor->roots->proc) < 0 ||
	    strchr(release, '/'))
		release[0] = '\0';
	snprintf(check.subject, sizeof(check.subject), "%s", file);
	if (sysfs_exists("%s/module/%s", doctor->roots->sys, module) ||
	    list_has(doctor, release, "modules.builtin", file)) {
		snprintf(check.found, sizeof(check.found), "it is in the kernel");
	} else if (list_has(doctor, release, "modules.dep", file)) {
		check.status = DOCTOR_WARNING;
		snprintf(check.found, sizeof(check.found), "it is there and not loaded");
		snprintf(check.fix, sizeof(check.fix), "modprobe %s", file);
	} else {
		check.status = DOCTOR_BLOCKER;
		snprintf(check.found, sizeof(check.found), "kernel %s has it neither built in nor in %s",
			 release, doctor->roots->modules);
		snprintf(check.fix, sizeof(check.fix),
			 "apt-get install linux-image-amd64 && reboot");
	}
	doctor->fn(doctor->opaque, &check);
}

void doctor_modules(struct doctor *doctor)
{
	doctor_module(doctor, "vfio-pci", "vfio_pci",
		      "a device that is given away is bound to this driver");
	doctor_module(doctor, "vfio_iommu_type1", "vfio_iommu_type1",
		      "it maps a guest's memory for its devices");
}

/* Taking the device away from its driver is no advice where the host needs it. */
static bool may_be_unbound(const struct doctor *doctor, const struct pci_function *function,
			   const struct pci_member *member)
{
	const struct pci_function *other;
	uint64_t address;

	if (pci_parse_bdf(member->name, &address) < 0 || !strcmp(function->pf, member->name))
		return false;
	other = pci_inventory_find(doctor->inventory, address);
	return other && !other->default_route && !other->root_disk && !other->num_vfs;
}

static void doctor_group(struct doctor *doctor, const struct pci_function *function)
{
	const struct pci_member *member = pci_group_blocker(function);
	struct doctor_check check = {
		.id = "iommu-group",
		.why = "members of a group reach each other past the IOMMU, so it is given away "
		       "as a whole or not at all",
	};

	snprintf(check.subject, sizeof(check.subject), "%s", function->bdf);
	if (function->iommu_group < 0) {
		check.status = DOCTOR_BLOCKER;
		snprintf(check.found, sizeof(check.found), "it is in no group");
	} else if (member) {
		check.status = DOCTOR_BLOCKER;
		snprintf(check.found, sizeof(check.found), "group %d also has %s, which is driven by %s",
			 function->iommu_group, member->name, member->driver);
		if (may_be_unbound(doctor, function, member))
			snprintf(check.fix, sizeof(check.fix),
				 "echo %s > /sys/bus/pci/devices/%s/driver/unbind", member->name,
				 member->name);
		else
			snprintf(check.fix, sizeof(check.fix),
				 "lspci -vv | grep -e ^[0-9a-f] -e ACSCtl # put it where the port above has ACS");
	} else if (function->group_devices > function->n_others + 1) {
		check.status = DOCTOR_UNKNOWN;
		snprintf(check.found, sizeof(check.found),
			 "group %d has %u devices, of which only %u were looked at",
			 function->iommu_group, function->group_devices, function->n_others + 1);
	} else {
		snprintf(check.found, sizeof(check.found), "group %d has %u devices, none in the way",
			 function->iommu_group, function->group_devices);
	}
	doctor->fn(doctor->opaque, &check);
}

static void doctor_use(struct doctor *doctor, const struct pci_function *function)
{
	struct doctor_check check = {
		.id = "function-in-use",
		.status = DOCTOR_WARNING,
		.why = "the host needs it: it is not given to a guest (the VFs it makes may be)",
	};

	if (!function->default_route && !function->root_disk)
		return;
	snprintf(check.subject, sizeof(check.subject), "%s", function->bdf);
	snprintf(check.found, sizeof(check.found), "%s",
		 !function->root_disk	  ? "the host's default route goes through it" :
		 !function->default_route ? "the host's root file system is on it or behind it" :
					    "the host's default route and root file system are behind it");
	doctor->fn(doctor->opaque, &check);
}

void doctor_functions(struct doctor *doctor)
{
	const struct pci_inventory *inventory = doctor->inventory;
	struct doctor_check check = {
		.id = "sriov",
		.why = "a function with SR-IOV is shared by many guests; any other goes to one as a whole",
	};
	unsigned int pfs = 0, vfs = 0;

	for (unsigned int i = 0; i < inventory->count; i++) {
		pfs += inventory->functions[i].is_pf;
		vfs += inventory->functions[i].is_vf;
	}
	snprintf(check.found, sizeof(check.found), "%u functions can make VFs; there are %u VFs", pfs,
		 vfs);
	if (!pfs) {
		check.status = DOCTOR_WARNING;
		snprintf(check.fix, sizeof(check.fix),
			 DOCTOR_FIRMWARE " # SR-IOV: on, in the firmware and the card's own set-up");
	}
	doctor->fn(doctor->opaque, &check);
	for (unsigned int i = 0; i < inventory->count; i++) {
		const struct pci_function *function = &inventory->functions[i];

		if (!function->is_pf && !function->is_vf)
			continue;
		doctor_group(doctor, function);
		doctor_use(doctor, function);
	}
}
