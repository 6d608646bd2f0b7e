/* The doctor's findings on made hosts: well ones, and each kind of ill one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/vfio/tree.h"
#include "vfio/host_doctor.h"
#include "vfio/pci_uses.h"

#define MAX_CHECKS 64u
#define VF "0000:01:10.0"
#define PF "0000:01:00.0"

struct host {
	struct tree tree;
	struct doctor_self self;
	struct doctor_check checks[MAX_CHECKS];
	unsigned int count;
};

/* A host that lacks nothing. */
static void make_well(struct tree *tree)
{
	tree_file(tree, "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx lm\n");
	tree_file(tree, "proc/cmdline", "quiet intel_iommu=on iommu=pt root=/dev/sda\n");
	tree_file(tree, "proc/sys/kernel/osrelease", "6.12.9\n");
	tree_file(tree, "dev/kvm", "");
	tree_file(tree, "sys/class/iommu/dmar0/intel-iommu/ecap", "f020df\n");
	tree_file(tree, "sys/firmware/acpi/tables/DMAR", "");
	tree_file(tree, "sys/kernel/irq/4/chip_name", "IR-IO-APIC\n");
	tree_file(tree, "sys/kernel/irq/24/chip_name", "IR-PCI-MSI\n");
	tree_dir(tree, "sys/module/vfio_pci");
	tree_file(tree, "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
	for (unsigned int node = 0; node < 2; node++) {
		char path[128];

		snprintf(path, sizeof(path),
			 "sys/devices/system/node/node%u/hugepages/hugepages-2048kB/nr_hugepages", node);
		tree_file(tree, path, "512\n");
		strcpy(strrchr(path, '/'), "/free_hugepages");
		tree_file(tree, path, "500\n");
	}
	tree_function(tree, PF, "0x10c9\n", "0x020000\n", "igb", 3);
	tree_attribute(tree, PF, "sriov_totalvfs", "8\n");
	tree_attribute(tree, PF, "sriov_numvfs", "1\n");
	tree_function(tree, VF, "0x10ca\n", "0x020000\n", NULL, 4);
	tree_link(tree, "sys/devices/pci0000:00/" VF "/physfn", "sys/devices/pci0000:00/" PF);
}

static int setup(void **state)
{
	struct host *host = calloc(1, sizeof(*host));

	assert_non_null(host);
	tree_create(&host->tree);
	host->self = (struct doctor_self){ 8 * MIB, true };
	*state = host;
	return 0;
}

static int setup_well(void **state)
{
	setup(state);
	make_well(&((struct host *)*state)->tree);
	return 0;
}

static int teardown(void **state)
{
	struct host *host = *state;

	tree_destroy(&host->tree);
	free(host);
	return 0;
}

static void note(void *opaque, const struct doctor_check *check)
{
	struct host *host = opaque;

	assert_in_range(host->count, 0, MAX_CHECKS - 1);
	assert_true(check->id && check->why && check->found[0]);
	/* Whoever is told of an ill is told of a remedy, or that there is no command for it. */
	assert_true(check->status != DOCTOR_OK || !check->fix[0]);
	host->checks[host->count++] = *check;
}

static void examine(struct host *host)
{
	struct pci_inventory inventory;

	host->count = 0;
	assert_int_equal(pci_inventory_read(&host->tree.roots, &inventory), 0);
	pci_uses_read(&host->tree.roots, &inventory);
	host_doctor_run(&host->tree.roots, &inventory, &host->self, note, host);
	pci_inventory_release(&inventory);
}

static const struct doctor_check *find(struct host *host, const char *id, const char *subject)
{
	for (unsigned int i = 0; i < host->count; i++) {
		if (!strcmp(host->checks[i].id, id) && !strcmp(host->checks[i].subject, subject))
			return &host->checks[i];
	}
	fail_msg("no check %s %s", id, subject);
	return NULL;
}

static void expect(struct host *host, const char *id, const char *subject,
		   enum doctor_status status, const char *found, const char *fix)
{
	const struct doctor_check *check;

	examine(host);
	check = find(host, id, subject);
	if (check->status != status || !strstr(check->found, found) || !strstr(check->fix, fix))
		fail_msg("%s %s: %d \"%s\" \"%s\"", id, subject, check->status, check->found,
			 check->fix);
}

static void test_a_well_host(void **state)
{
	struct host *host = *state;

	examine(host);
	for (unsigned int i = 0; i < host->count; i++) {
		if (host->checks[i].status != DOCTOR_OK)
			fail_msg("%s %s: %s", host->checks[i].id, host->checks[i].subject,
				 host->checks[i].found);
	}
	assert_string_equal(find(host, "iommu", "")->found,
			    "1 units in use, 2 groups; the kernel's command line says intel_iommu=on iommu=pt");
	assert_string_equal(find(host, "huge-pages", "node1")->found, "512 of 2M, 500 free");
	find(host, "iommu-group", PF);
	find(host, "iommu-group", VF);
}

static void test_an_empty_host(void **state)
{
	struct host *host = *state;

	examine(host);
	assert_int_equal(find(host, "kvm", "")->status, DOCTOR_BLOCKER);
	assert_int_equal(find(host, "cpu-virtualization", "")->status, DOCTOR_BLOCKER);
	assert_int_equal(find(host, "iommu", "")->status, DOCTOR_BLOCKER);
	assert_int_equal(find(host, "interrupt-remapping", "")->status, DOCTOR_UNKNOWN);
	assert_int_equal(find(host, "vfio-module", "vfio-pci")->status, DOCTOR_BLOCKER);
	assert_int_equal(find(host, "sriov", "")->status, DOCTOR_WARNING);
	assert_int_equal(find(host, "huge-pages", "")->status, DOCTOR_WARNING);
}

static void test_cpu(void **state)
{
	struct host *host = *state;

	tree_file(&host->tree, "proc/cpuinfo", "flags\t: fpu svm_lock vmxx\n");
	expect(host, "cpu-virtualization", "", DOCTOR_WARNING, "neither", "firmware");
	tree_remove(&host->tree, "dev/kvm");
	expect(host, "cpu-virtualization", "", DOCTOR_BLOCKER, "neither", "firmware");
	expect(host, "kvm", "", DOCTOR_BLOCKER, "No such file", "modprobe kvm_amd");
	tree_file(&host->tree, "proc/cpuinfo", "flags\t: fpu svm\n");
	expect(host, "cpu-virtualization", "", DOCTOR_OK, "svm", "");
}

static void test_iommu(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;

	tree_remove(tree, "sys/class/iommu");
	/* It is on the command line: only the kernel's log knows why it is not there. */
	expect(host, "iommu", "", DOCTOR_BLOCKER, "(DMAR)", "dmesg");
	tree_file(tree, "proc/cmdline", "quiet xintel_iommu=on\n");
	expect(host, "iommu", "", DOCTOR_BLOCKER, "nothing about it", "intel_iommu=on\"' >");
	tree_file(tree, "proc/cmdline", "intel_iommu=on,sm_on\n");
	expect(host, "iommu", "", DOCTOR_BLOCKER, "intel_iommu=on,sm_on", "dmesg");
	tree_remove(tree, "sys/firmware/acpi/tables/DMAR");
	tree_file(tree, "sys/firmware/acpi/tables/IVRS", "");
	tree_file(tree, "proc/cmdline", "amd_iommu=off\n");
	expect(host, "iommu", "", DOCTOR_BLOCKER, "(IVRS)", "sed -i");
	tree_remove(tree, "sys/firmware/acpi/tables/IVRS");
	expect(host, "iommu", "", DOCTOR_BLOCKER, "neither DMAR nor IVRS", "firmware");
}

static void test_remapping(void **state)
{
	static const char unsafe[] = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
	struct host *host = *state;
	struct tree *tree = &host->tree;

	tree_file(tree, "sys/kernel/irq/4/chip_name", "IO-APIC\n");
	tree_file(tree, "sys/kernel/irq/24/chip_name", "PCI-MSIX-0000:01:00.0\n");
	expect(host, "interrupt-remapping", "", DOCTOR_BLOCKER, "every unit could", "firmware");
	tree_file(tree, "proc/cmdline", "intremap=off\n");
	expect(host, "interrupt-remapping", "", DOCTOR_BLOCKER, "every unit could", "intremap=off");
	tree_file(tree, "proc/cmdline", "\n");
	tree_file(tree, "sys/class/iommu/dmar1/intel-iommu/ecap", "f020d7\n");
	expect(host, "interrupt-remapping", "", DOCTOR_BLOCKER, "not every unit", "allow_unsafe");
	tree_file(tree, unsafe, "Y\n");
	expect(host, "interrupt-remapping", "", DOCTOR_WARNING, "put up with", "");
	tree_file(tree, "sys/kernel/irq/4/chip_name", "XT-PIC\n");
	tree_file(tree, "sys/kernel/irq/24/chip_name", "\n");
	expect(host, "interrupt-remapping", "", DOCTOR_UNKNOWN, "no interrupt of a kind", "dmesg");
}

static void test_modules(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;

	tree_remove(tree, "sys/module/vfio_pci");
	expect(host, "vfio-module", "vfio-pci", DOCTOR_BLOCKER, "6.12.9", "linux-image");
	tree_file(tree, "modules/6.12.9/modules.dep",
		  "kernel/drivers/vfio/pci/vfio-pci-core.ko: a\nkernel/drivers/vfio/pci/vfio-pci.ko.xz: b\n");
	expect(host, "vfio-module", "vfio-pci", DOCTOR_WARNING, "not loaded", "modprobe vfio-pci");
	expect(host, "vfio-module", "vfio_iommu_type1", DOCTOR_OK, "in the kernel", "");
	tree_file(tree, "modules/6.12.9/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n");
	expect(host, "vfio-module", "vfio-pci", DOCTOR_OK, "in the kernel", "");
	tree_file(tree, "proc/sys/kernel/osrelease", "../../etc\n");
	expect(host, "vfio-module", "vfio-pci", DOCTOR_BLOCKER, "", "");
}

static void test_groups(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;

	tree_function(tree, "0000:00:1f.3", "0x293e\n", "0x040300\n", "snd_hda_intel", 4);
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, "0000:00:1f.3, which is driven by snd_hda_intel",
	       "echo 0000:00:1f.3 > /sys/bus/pci/devices/0000:00:1f.3/driver/unbind");
	/* Nobody is told to take the disk away from under the host. */
	tree_dir(tree, "sys/devices/pci0000:00/0000:00:1f.3/block/sda");
	tree_link(tree, "sys/class/block/sda", "sys/devices/pci0000:00/0000:00:1f.3/block/sda");
	tree_file(tree, "proc/self/mountinfo", "21 1 0:31 / / rw - btrfs /dev/sda rw\n");
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, "snd_hda_intel", "ACS");
	tree_remove(tree, "sys/kernel/iommu_groups/4/devices/0000:00:1f.3");
	/* Nor the PF from its VFs. */
	tree_link(tree, "sys/kernel/iommu_groups/4/devices/" PF, "sys/devices/pci0000:00/" PF);
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, PF ", which is driven by igb", "ACS");
	tree_attribute(tree, PF, "sriov_numvfs", "0\n");
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, PF ", which is driven by igb", "ACS");
	tree_remove(tree, "sys/kernel/iommu_groups/4/devices/" PF);
	/* Nor another from its own. */
	tree_function(tree, "0000:02:00.0", "0x10c9\n", "0x020000\n", "igb", 4);
	tree_attribute(tree, "0000:02:00.0", "sriov_totalvfs", "8\n");
	tree_attribute(tree, "0000:02:00.0", "sriov_numvfs", "1\n");
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, "0000:02:00.0, which is driven by igb", "ACS");
	tree_attribute(tree, "0000:02:00.0", "sriov_numvfs", "0\n");
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, "0000:02:00.0", "unbind");
	tree_remove(tree, "sys/devices/pci0000:00/" VF "/iommu_group");
	expect(host, "iommu-group", VF, DOCTOR_BLOCKER, "no group", "");
}

static void test_use(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;

	tree_interface(tree, PF, "eth0", "52:54:00:12:34:56\n", "up\n");
	tree_file(tree, "proc/net/route", "eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
	expect(host, "function-in-use", PF, DOCTOR_WARNING, "default route", "");
}

static void test_limits(void **state)
{
	struct host *host = *state;

	expect(host, "memlock", "", DOCTOR_OK, "8 MiB", "");
	host->self.may_raise = false;
	expect(host, "memlock", "", DOCTOR_WARNING, "8 MiB", "ulimit");
	host->self.memlock = UINT64_MAX;
	expect(host, "memlock", "", DOCTOR_OK, "no limit", "");
	tree_file(&host->tree, "sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages",
		  "0\n");
	expect(host, "huge-pages", "node0", DOCTOR_OK, "500 free", "");
	expect(host, "huge-pages", "node1", DOCTOR_WARNING, "0 free",
	       "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
	tree_file(&host->tree, "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
		  "-7\n");
	expect(host, "huge-pages", "node0", DOCTOR_WARNING, "none", "node0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_well_host, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_an_empty_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpu, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_iommu, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_remapping, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_modules, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_groups, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_use, setup_well, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup_well, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
