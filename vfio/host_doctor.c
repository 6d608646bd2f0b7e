#include "vfio/host_doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfio/host_doctor_parts.h"

#define MAX_NODES 128u
#define NODES "devices/system/node"

/* The first processor's flags have this word. */
static bool cpu_has(const struct doctor *doctor, const char *flag)
{
	char path[SYSFS_PATH_SIZE], word[32];
	size_t size = 0;
	char *line = NULL;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/cpuinfo", doctor->roots->proc);
	snprintf(word, sizeof(word), " %s ", flag);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (getline(&line, &size, f) > 0) {
		if (strncmp(line, "flags", 5))
			continue;
		line[strcspn(line, "\n")] = ' ';
		found = strstr(line, word);
		break;
	}
	free(line);
	fclose(f);
	return found;
}

static void doctor_cpu(struct doctor *doctor)
{
	bool vmx = cpu_has(doctor, "vmx"), svm = cpu_has(doctor, "svm");
	struct doctor_check check = {
		.id = "cpu-virtualization",
		.status = vmx || svm ? DOCTOR_OK : DOCTOR_BLOCKER,
		.why = "guests run on the processor itself, in a mode of its own (VT-x or AMD-V)",
	};

	snprintf(check.found, sizeof(check.found), "the processor has %s",
		 vmx ? "VT-x (vmx)" :
		 svm ? "AMD-V (svm)" :
		       "neither vmx nor svm among its flags");
	if (check.status != DOCTOR_OK) {
		snprintf(check.fix, sizeof(check.fix), DOCTOR_FIRMWARE);
		/* A KVM that does without interprets guests, or something else is odd. */
		if (sysfs_exists("%s/kvm", doctor->roots->dev))
			check.status = DOCTOR_WARNING;
	}
	doctor->fn(doctor->opaque, &check);
}

static void doctor_kvm(struct doctor *doctor)
{
	struct doctor_check check = {
		.id = "kvm",
		.why = "without KVM no guest starts",
	};
	char path[SYSFS_PATH_SIZE];
	int fd;

	snprintf(path, sizeof(path), "%s/kvm", doctor->roots->dev);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		close(fd);
		snprintf(check.found, sizeof(check.found), "/dev/kvm is there");
	} else {
		check.status = DOCTOR_BLOCKER;
		snprintf(check.found, sizeof(check.found), "/dev/kvm cannot be opened: %s",
			 strerror(errno));
		snprintf(check.fix, sizeof(check.fix), "modprobe %s",
			 cpu_has(doctor, "vmx") ? "kvm_intel" : "kvm_amd");
	}
	doctor->fn(doctor->opaque, &check);
}

static void doctor_memlock(struct doctor *doctor)
{
	const struct doctor_self *self = doctor->self;
	bool enough = self->may_raise || self->memlock == UINT64_MAX;
	struct doctor_check check = {
		.id = "memlock",
		.status = enough ? DOCTOR_OK : DOCTOR_WARNING,
		.why = "a device may write to any of its guest's memory, so all of it stays in "
		       "RAM, and is counted against this limit",
	};

	if (self->memlock == UINT64_MAX)
		snprintf(check.found, sizeof(check.found), "no limit");
	else
		snprintf(check.found, sizeof(check.found), "%llu MiB%s",
			 (unsigned long long)(self->memlock / MIB),
			 self->may_raise ?
				 "; vmm-launch gives each guest one of its own, as large as its memory" :
				 ", which vmm-launch may not raise: larger guests get no device");
	if (!enough)
		snprintf(check.fix, sizeof(check.fix),
			 "ulimit -Hl unlimited # where vmm-mgmt is started, or its unit: LimitMEMLOCK=infinity");
	doctor->fn(doctor->opaque, &check);
}

struct pages {
	const struct doctor *doctor;
	const char *where; /* the directory of hugepages-2048kB, below sys */
	char *text;
	size_t size;
	int64_t total, free;
};

static bool add_page_size(void *opaque, const char *name)
{
	struct pages *pages = opaque;
	const char *sys = pages->doctor->roots->sys;
	int64_t total, free_ones;
	size_t len = strlen(pages->text);
	unsigned long kib;

	if (sscanf(name, "hugepages-%lukB", &kib) != 1 ||
	    sysfs_read_number(&total, "%s/%s/%s/nr_hugepages", sys, pages->where, name) < 0 ||
	    sysfs_read_number(&free_ones, "%s/%s/%s/free_hugepages", sys, pages->where, name) < 0 ||
	    total < 0 || free_ones < 0)
		return true;
	pages->total = MIN(pages->total + total, INT32_MAX);
	pages->free = MIN(pages->free + free_ones, INT32_MAX);
	snprintf(pages->text + len, pages->size - len, "%s%lld of %lu%s, %lld free", len ? "; " : "",
		 (long long)total, kib >= 1024 * 1024 ? kib / 1024 / 1024 : kib / 1024,
		 kib >= 1024 * 1024 ? "G" : "M", (long long)free_ones);
	return true;
}

static void doctor_pages(struct doctor *doctor, const char *subject, const char *where)
{
	struct doctor_check check = {
		.id = "huge-pages",
		.why = "with small pages the IOMMU needs 512 times as many entries for a "
		       "guest's memory, and devices wait for them",
	};
	struct pages pages = { doctor, where, check.found, sizeof(check.found) };

	snprintf(check.subject, sizeof(check.subject), "%s", subject);
	(void)sysfs_list(add_page_size, &pages, "%s/%s", doctor->roots->sys, where);
	if (!pages.total)
		snprintf(check.found, sizeof(check.found), "none are set aside");
	if (!pages.free) {
		check.status = DOCTOR_WARNING;
		snprintf(check.fix, sizeof(check.fix), "echo 1024 > /sys/%s/hugepages-2048kB/nr_hugepages",
			 where);
	}
	doctor->fn(doctor->opaque, &check);
}

struct nodes {
	unsigned int numbers[MAX_NODES], count;
};

static bool add_node(void *opaque, const char *name)
{
	struct nodes *nodes = opaque;
	unsigned int number;
	int end = 0;

	if (sscanf(name, "node%5u%n", &number, &end) == 1 && !name[end])
		nodes->numbers[nodes->count++] = number;
	return nodes->count < MAX_NODES;
}

static int by_number(const void *a, const void *b)
{
	unsigned int first = *(const unsigned int *)a, second = *(const unsigned int *)b;

	return (first > second) - (first < second);
}

static void doctor_huge_pages(struct doctor *doctor)
{
	char where[64], subject[16];
	struct nodes nodes = { .count = 0 };

	(void)sysfs_list(add_node, &nodes, "%s/" NODES, doctor->roots->sys);
	qsort(nodes.numbers, nodes.count, sizeof(nodes.numbers[0]), by_number);
	for (unsigned int i = 0; i < nodes.count; i++) {
		snprintf(subject, sizeof(subject), "node%u", nodes.numbers[i]);
		snprintf(where, sizeof(where), NODES "/%s/hugepages", subject);
		doctor_pages(doctor, subject, where);
	}
	if (!nodes.count)
		doctor_pages(doctor, "", "kernel/mm/hugepages");
}

void host_doctor_run(const struct host_roots *roots, const struct pci_inventory *inventory,
		     const struct doctor_self *self, doctor_fn fn, void *opaque)
{
	struct doctor doctor = { roots, inventory, self, fn, opaque };

	if (sysfs_read_text(doctor.cmdline, sizeof(doctor.cmdline), "%s/cmdline", roots->proc) < 0)
		doctor.cmdline[0] = '\0';
	doctor_cpu(&doctor);
	doctor_kvm(&doctor);
	doctor_iommu(&doctor);
	doctor_remapping(&doctor);
	doctor_modules(&doctor);
	doctor_functions(&doctor);
	doctor_memlock(&doctor);
	doctor_huge_pages(&doctor);
}
