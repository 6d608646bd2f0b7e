/* The IOMMU, and whether it also looks at interrupts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio/host_doctor_parts.h"

#define ECAP_IR (1ULL << 3) /* VT-d 4.1, 11.4.3: the unit can remap interrupts */
#define GRUB(word)                                                                     \
	"echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX " word                         \
	"\"' > /etc/default/grub.d/iommu.cfg && update-grub && reboot"
#define TABLES "%s/firmware/acpi/tables/%s"

static bool count_one(void *opaque, const char *name)
{
	unsigned int *count = opaque;

	++*count;
	return true;
}

/* What of the kernel's command line bears upon it, one after the other. */
static void cmdline_words(const struct doctor *doctor, char *words, size_t size)
{
	static const char *const keys[] = { "intel_iommu=", "amd_iommu=", "iommu=", "intremap=" };
	char copy[sizeof(doctor->cmdline)];
	size_t len = 0;
	char *save = NULL;

	strcpy(copy, doctor->cmdline);
	words[0] = '\0';
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			if (strncmp(word, keys[i], strlen(keys[i])) || len >= size)
				continue;
			len += (size_t)snprintf(words + len, size - len, "%s%s", len ? " " : "", word);
		}
	}
	if (!words[0])
		snprintf(words, size, "nothing about it");
}

/* The kernel uses none. The firmware may have told it of one. */
static void explain_missing(struct doctor *doctor, struct doctor_check *check, const char *words)
{
	bool intel = sysfs_exists(TABLES, doctor->roots->sys, "DMAR");
	bool amd = sysfs_exists(TABLES, doctor->roots->sys, "IVRS");
	bool off = doctor_cmdline_has(doctor, "intel_iommu=off") ||
		   doctor_cmdline_has(doctor, "amd_iommu=off") ||
		   doctor_cmdline_has(doctor, "iommu=off");

	check->status = DOCTOR_BLOCKER;
	snprintf(check->found, sizeof(check->found),
		 "no unit in use; the firmware describes %s; the kernel's command line says %s",
		 intel ? "one of Intel's (DMAR)" :
		 amd   ? "one of AMD's (IVRS)" :
			 "none (neither DMAR nor IVRS)",
		 words);
	if (!intel && !amd)
		snprintf(check->fix, sizeof(check->fix), DOCTOR_FIRMWARE " # VT-d, AMD-Vi or IOMMU: on");
	else if (off)
		snprintf(check->fix, sizeof(check->fix),
			 "sed -i -E 's/(intel_|amd_|)iommu=off//' /etc/default/grub && update-grub && reboot");
	else if (intel && !doctor_cmdline_has(doctor, "intel_iommu=on"))
		snprintf(check->fix, sizeof(check->fix), "%s", GRUB("intel_iommu=on"));
	else
		snprintf(check->fix, sizeof(check->fix), "dmesg | grep -i -e iommu -e dmar # says why not");
}

void doctor_iommu(struct doctor *doctor)
{
	struct doctor_check check = {
		.id = "iommu",
		.why = "it holds a device to its guest's memory; without it a guest could reach all of the host's",
	};
	unsigned int units = 0, groups = 0;
	char words[160];

	(void)sysfs_list(count_one, &units, "%s/class/iommu", doctor->roots->sys);
	(void)sysfs_list(count_one, &groups, "%s/kernel/iommu_groups", doctor->roots->sys);
	cmdline_words(doctor, words, sizeof(words));
	if (units && groups)
		snprintf(check.found, sizeof(check.found),
			 "%u units in use, %u groups; the kernel's command line says %s", units, groups,
			 words);
	else
		explain_missing(doctor, &check, words);
	doctor->fn(doctor->opaque, &check);
}

struct interrupts {
	struct doctor *doctor;
	unsigned int remapped, plain;
};

/* The kernel names the parts an interrupt comes through: IR- where a remapping unit is among them. */
static bool add_interrupt(void *opaque, const char *number)
{
	struct interrupts *interrupts = opaque;
	char chip[64];

	if (sysfs_read_text(chip, sizeof(chip), "%s/kernel/irq/%s/chip_name",
			    interrupts->doctor->roots->sys, number) < 0)
		return true;
	if (!strncmp(chip, "IR-", 3))
		interrupts->remapped++;
	else if (!strncmp(chip, "PCI-MSI", 7) || !strcmp(chip, "IO-APIC"))
		interrupts->plain++;
	return true;
}

struct units {
	struct doctor *doctor;
	unsigned int able, unable;
};

/* Intel's units show their capabilities (hexadecimal without 0x). */
static bool add_unit(void *opaque, const char *name)
{
	struct units *units = opaque;
	char text[24], *end;
	uint64_t ecap;

	if (sysfs_read_text(text, sizeof(text), "%s/class/iommu/%s/intel-iommu/ecap",
			    units->doctor->roots->sys, name) < 0)
		return true;
	ecap = strtoull(text, &end, 16);
	if (end == text || *end)
		return true;
	if (ecap & ECAP_IR)
		units->able++;
	else
		units->unable++;
	return true;
}

static void explain_plain(struct doctor *doctor, struct doctor_check *check)
{
	struct units units = { .doctor = doctor };
	char unsafe[8];

	(void)sysfs_list(add_unit, &units, "%s/class/iommu", doctor->roots->sys);
	snprintf(check->found, sizeof(check->found), "interrupts do not go through an IOMMU%s",
		 units.unable ? ", for not every unit can remap them" :
		 units.able   ? ", though every unit could remap them" :
				"");
	check->status = DOCTOR_BLOCKER;
	if (!sysfs_read_text(unsafe, sizeof(unsafe),
			     "%s/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
			     doctor->roots->sys) &&
	    unsafe[0] == 'Y') {
		check->status = DOCTOR_WARNING;
		strncat(check->found, "; vfio_iommu_type1 is told to put up with that",
			sizeof(check->found) - strlen(check->found) - 1);
	}
	if (doctor_cmdline_has(doctor, "intremap=off"))
		snprintf(check->fix, sizeof(check->fix),
			 "sed -i 's/intremap=off//' /etc/default/grub && update-grub && reboot");
	else if (units.unable)
		snprintf(check->fix, sizeof(check->fix),
			 "echo options vfio_iommu_type1 allow_unsafe_interrupts=1 > "
			 "/etc/modprobe.d/vfio.conf # only if every guest is trusted");
	else
		snprintf(check->fix, sizeof(check->fix),
			 DOCTOR_FIRMWARE " # VT-d or AMD-Vi, interrupt remapping, x2APIC: on");
}

void doctor_remapping(struct doctor *doctor)
{
	struct doctor_check check = {
		.id = "interrupt-remapping",
		.why = "a device's interrupt is a write: unless it is looked at, a guest "
		       "could raise any interrupt of the host",
	};
	struct interrupts interrupts = { .doctor = doctor };

	(void)sysfs_list(add_interrupt, &interrupts, "%s/kernel/irq", doctor->roots->sys);
	if (interrupts.remapped) {
		snprintf(check.found, sizeof(check.found), "%u interrupts are remapped",
			 interrupts.remapped);
	} else if (interrupts.plain) {
		explain_plain(doctor, &check);
	} else {
		check.status = DOCTOR_UNKNOWN;
		snprintf(check.found, sizeof(check.found),
			 "the kernel names no interrupt of a kind we know in /sys/kernel/irq");
		snprintf(check.fix, sizeof(check.fix), "dmesg | grep -i -e remapping");
	}
	doctor->fn(doctor->opaque, &check);
}
