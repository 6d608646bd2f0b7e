/* The inventory of made hosts: plain ones, and ones that are odd or hostile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "tests/unit/vfio/tree.h"
#include "vfio/pci_inventory.h"
#include "vfio/pci_uses.h"

#define PF "0000:01:00.0"
#define VF0 "0000:01:10.0"
#define VF1 "0000:01:10.2"

struct host {
	struct tree tree;
	struct pci_inventory inventory;
};

static int setup(void **state)
{
	struct host *host = calloc(1, sizeof(*host));

	assert_non_null(host);
	tree_create(&host->tree);
	tree_file(&host->tree, "pci.ids",
		  "8086  Intel\n\t10c9  82576 NIC\n\t1572  Odd \xc3\xa9\x01 name\n"
		  "C 02  Network controller\n\t00  Ethernet controller\n");
	*state = host;
	return 0;
}

static int teardown(void **state)
{
	struct host *host = *state;

	pci_inventory_release(&host->inventory);
	tree_destroy(&host->tree);
	free(host);
	return 0;
}

static void read_host(struct host *host)
{
	pci_inventory_release(&host->inventory);
	assert_int_equal(pci_inventory_read(&host->tree.roots, &host->inventory), 0);
	pci_uses_read(&host->tree.roots, &host->inventory);
}

static struct pci_function *get(struct host *host, const char *bdf)
{
	struct pci_function *function;
	uint64_t address;

	assert_int_equal(pci_parse_bdf(bdf, &address), 0);
	function = pci_inventory_find(&host->inventory, address);
	assert_non_null(function);
	assert_string_equal(function->bdf, bdf);
	return function;
}

/* A PF with two of eight VFs, in groups of their own. */
static void make_pf(struct tree *tree)
{
	tree_function(tree, PF, "0x10c9\n", "0x020000\n", "igb", 3);
	tree_attribute(tree, PF, "sriov_totalvfs", "8\n");
	tree_attribute(tree, PF, "sriov_numvfs", "2\n");
	tree_attribute(tree, PF, "sriov_offset", "128\n");
	tree_attribute(tree, PF, "sriov_stride", "2\n");
	tree_attribute(tree, PF, "sriov_vf_device", "10ca\n");
	tree_function(tree, VF0, "0x10ca\n", "0x020000\n", NULL, 4);
	tree_function(tree, VF1, "0x10ca\n", "0x020000\n", "vfio-pci", 5);
	tree_link(tree, "sys/devices/pci0000:00/" VF0 "/physfn", "sys/devices/pci0000:00/" PF);
	tree_link(tree, "sys/devices/pci0000:00/" VF1 "/physfn", "sys/devices/pci0000:00/" PF);
	tree_link(tree, "sys/devices/pci0000:00/" PF "/virtfn0", "sys/devices/pci0000:00/" VF0);
	tree_link(tree, "sys/devices/pci0000:00/" PF "/virtfn1", "sys/devices/pci0000:00/" VF1);
}

static void test_no_pci(void **state)
{
	struct host *host = *state;

	read_host(host);
	assert_int_equal(host->inventory.count, 0);
	assert_false(host->inventory.truncated);
	assert_null(pci_inventory_find(&host->inventory, 0));
}

static void test_a_plain_function(void **state)
{
	struct host *host = *state;
	struct pci_function *function;

	tree_function(&host->tree, PF, "0x10c9\n", "0x020000\n", "igb", -1);
	tree_attribute(&host->tree, PF, "numa_node", "1\n");
	tree_interface(&host->tree, PF, "eth7", "52:54:00:12:34:56\n", "up\n");
	tree_attribute(&host->tree, PF, "net/eth7/carrier", "1\n");
	tree_attribute(&host->tree, PF, "net/eth7/speed", "1000\n");
	read_host(host);
	assert_int_equal(host->inventory.count, 1);
	function = get(host, PF);
	assert_int_equal(function->vendor, 0x8086);
	assert_int_equal(function->device, 0x10c9);
	assert_int_equal(function->class_code, 0x020000);
	assert_string_equal(function->vendor_name, "Intel");
	assert_string_equal(function->device_name, "82576 NIC");
	assert_string_equal(function->class_name, "Ethernet controller");
	assert_string_equal(function->driver, "igb");
	assert_int_equal(function->numa_node, 1);
	assert_int_equal(function->iommu_group, -1);
	assert_false(function->is_pf || function->is_vf || function->default_route ||
		     function->root_disk);
	assert_int_equal(function->n_interfaces, 1);
	assert_string_equal(function->interfaces[0].name, "eth7");
	assert_string_equal(function->interfaces[0].mac, "52:54:00:12:34:56");
	assert_string_equal(function->interfaces[0].state, "up");
	assert_int_equal(function->interfaces[0].carrier, 1);
	assert_int_equal(function->interfaces[0].speed_mbps, 1000);
}

static void test_pf_and_vfs(void **state)
{
	struct host *host = *state;
	struct pci_function *function;

	make_pf(&host->tree);
	read_host(host);
	assert_int_equal(host->inventory.count, 3);
	function = get(host, PF);
	assert_true(function->is_pf && !function->is_vf);
	assert_int_equal(function->total_vfs, 8);
	assert_int_equal(function->num_vfs, 2);
	assert_int_equal(function->vf_offset, 128);
	assert_int_equal(function->vf_stride, 2);
	assert_int_equal(function->vf_device, 0x10ca);
	function = get(host, VF1);
	assert_true(function->is_vf && !function->is_pf);
	assert_string_equal(function->pf, PF);
	assert_int_equal(function->vf_index, 1);
	assert_int_equal(get(host, VF0)->vf_index, 0);
	assert_int_equal(function->iommu_group, 5);
	assert_int_equal(function->group_devices, 1);
	assert_int_equal(function->n_others, 0);
}

/* Only a VF's own PF has a say in its number. */
static void test_vf_of_another(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;

	make_pf(tree);
	tree_function(tree, "0000:02:00.0", "0x10c9\n", "0x020000\n", "igb", -1);
	tree_attribute(tree, "0000:02:00.0", "sriov_totalvfs", "8\n");
	tree_attribute(tree, "0000:02:00.0", "sriov_numvfs", "8\n");
	tree_link(tree, "sys/devices/pci0000:00/0000:02:00.0/virtfn5", "sys/devices/pci0000:00/" VF0);
	tree_link(tree, "sys/devices/pci0000:00/0000:02:00.0/virtfn6", "sys/devices/pci0000:00/" PF);
	read_host(host);
	assert_int_equal(get(host, VF0)->vf_index, 0);
	assert_int_equal(get(host, PF)->vf_index, -1);
}

static void test_group_of_several(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;
	const struct pci_member *member;
	struct pci_function *function;

	make_pf(tree);
	tree_function(tree, "0000:00:01.0", "0x3420\n", "0x060400\n", "pcieport", 4);
	tree_function(tree, "0000:00:02.0", "0x3420\n", "0x060000\n", NULL, 4);
	read_host(host);
	function = get(host, VF0);
	assert_int_equal(function->group_devices, 3);
	assert_int_equal(function->n_others, 2);
	assert_string_equal(function->others[0].name, "0000:00:01.0");
	assert_string_equal(function->others[0].driver, "pcieport");
	assert_string_equal(function->others[1].driver, "");
	assert_null(pci_group_blocker(function));

	tree_function(tree, "0000:00:1f.3", "0x293e\n", "0x040300\n", "snd_hda_intel", 4);
	read_host(host);
	member = pci_group_blocker(get(host, VF0));
	assert_non_null(member);
	assert_string_equal(member->name, "0000:00:1f.3");
	assert_string_equal(member->driver, "snd_hda_intel");
	/* It does not stand in its own way. */
	assert_null(pci_group_blocker(get(host, "0000:00:1f.3")));
}

static void test_group_larger_than_is_named(void **state)
{
	struct host *host = *state;
	char bdf[PCI_BDF_SIZE];

	for (unsigned int i = 0; i < PCI_MAX_MEMBERS + 4; i++) {
		snprintf(bdf, sizeof(bdf), "0000:05:%02x.0", i);
		tree_function(&host->tree, bdf, "0x1\n", "0x020000\n", NULL, 0);
	}
	read_host(host);
	assert_int_equal(get(host, "0000:05:00.0")->n_others, PCI_MAX_MEMBERS);
	assert_int_equal(get(host, "0000:05:00.0")->group_devices, PCI_MAX_MEMBERS + 4);
}

static void test_default_route(void **state)
{
	static const char none[] =
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
		"eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
		"eth1\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n";
	struct host *host = *state;
	struct tree *tree = &host->tree;

	tree_function(tree, PF, "0x10c9\n", "0x020000\n", "igb", -1);
	tree_function(tree, VF0, "0x10c9\n", "0x020000\n", "igb", -1);
	tree_interface(tree, PF, "eth0", "52:54:00:00:00:01\n", "up\n");
	tree_interface(tree, VF0, "eth1", "52:54:00:00:00:02\n", "up\n");
	tree_file(tree, "proc/net/route", none);
	read_host(host);
	assert_false(get(host, PF)->default_route || get(host, VF0)->default_route);

	/* Through a VLAN on a bridge on eth0; the bridge goes round in a circle. */
	tree_dir(tree, "sys/devices/virtual/net/br0");
	tree_dir(tree, "sys/devices/virtual/net/br0.7");
	tree_link(tree, "sys/class/net/br0", "sys/devices/virtual/net/br0");
	tree_link(tree, "sys/class/net/br0.7", "sys/devices/virtual/net/br0.7");
	tree_link(tree, "sys/class/net/br0.7/lower_br0", "sys/devices/virtual/net/br0");
	tree_link(tree, "sys/class/net/br0/lower_eth0", "sys/devices/pci0000:00/" PF "/net/eth0");
	tree_link(tree, "sys/class/net/br0/lower_br0.7", "sys/devices/virtual/net/br0.7");
	tree_file(tree, "proc/net/route",
		  "Iface\tDestination\n"
		  "br0.7\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
	read_host(host);
	assert_true(get(host, PF)->default_route);
	assert_false(get(host, VF0)->default_route);

	tree_file(tree, "proc/net/route", none);
	tree_file(tree, "proc/net/ipv6_route",
		  "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
		  "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
		  "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
		  "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n");
	read_host(host);
	assert_false(get(host, PF)->default_route);
	assert_true(get(host, VF0)->default_route);
}

/* Interfaces that all stand on each other are not followed for ever. */
static void test_thicket_of_interfaces(void **state)
{
	struct host *host = *state;
	char path[SYSFS_PATH_SIZE], target[64];

	tree_function(&host->tree, PF, "0x10c9\n", "0x020000\n", "igb", -1);
	for (unsigned int i = 0; i < 24; i++) {
		snprintf(target, sizeof(target), "sys/devices/virtual/net/br%u", i);
		tree_dir(&host->tree, target);
		snprintf(path, sizeof(path), "sys/class/net/br%u", i);
		tree_link(&host->tree, path, target);
		for (unsigned int lower = 0; lower < 24; lower++) {
			snprintf(path, sizeof(path), "%s/lower_br%u", target, lower);
			tree_dir(&host->tree, path);
		}
	}
	tree_file(&host->tree, "proc/net/route",
		  "br0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
	read_host(host);
	assert_false(get(host, PF)->default_route);
}

static void test_many_interfaces(void **state)
{
	struct host *host = *state;
	char name[] = "eth0";

	tree_function(&host->tree, PF, "0x10c9\n", "0x020000\n", "igb", -1);
	for (; name[3] < '0' + (int)PCI_MAX_INTERFACES + 2; name[3]++)
		tree_interface(&host->tree, PF, name, "52:54:00:12:34:56\n", "up\n");
	read_host(host);
	assert_int_equal(get(host, PF)->n_interfaces, PCI_MAX_INTERFACES);
}

static void test_root_disk(void **state)
{
	static const char disk[] = "sys/devices/pci0000:00/0000:00:1f.2/ata1/block/sda";
	struct host *host = *state;
	struct tree *tree = &host->tree;
	char path[SYSFS_PATH_SIZE];

	tree_function(tree, "0000:00:1f.2", "0x2922\n", "0x010601\n", "ahci", -1);
	tree_function(tree, "0000:00:04.0", "0x0010\n", "0x010802\n", "nvme", -1);
	snprintf(path, sizeof(path), "%s/sda1", disk);
	tree_dir(tree, path);
	tree_link(tree, "sys/class/block/sda", disk);
	tree_link(tree, "sys/class/block/sda1", path);
	tree_link(tree, "sys/dev/block/8:1", path);
	snprintf(path, sizeof(path), "%s/sda1/partition", disk);
	tree_file(tree, path, "1\n");
	tree_file(tree, "proc/self/mountinfo",
		  "22 1 0:5 / /dev rw - devtmpfs dev rw\n21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n");
	read_host(host);
	assert_true(get(host, "0000:00:1f.2")->root_disk);
	assert_false(get(host, "0000:00:04.0")->root_disk);

	/* Device mapper on an NVMe namespace whose controllers only its subsystem knows. */
	tree_dir(tree, "sys/devices/virtual/block/dm-0/slaves");
	tree_link(tree, "sys/dev/block/253:0", "sys/devices/virtual/block/dm-0");
	tree_link(tree, "sys/class/block/dm-0", "sys/devices/virtual/block/dm-0");
	tree_dir(tree, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
	tree_dir(tree, "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0");
	tree_link(tree, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
		  "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0");
	tree_link(tree, "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/device",
		  "sys/devices/virtual/nvme-subsystem/nvme-subsys0");
	tree_link(tree, "sys/class/block/nvme0n1",
		  "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
	tree_link(tree, "sys/devices/virtual/block/dm-0/slaves/nvme0n1",
		  "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
	tree_file(tree, "proc/self/mountinfo", "21 1 253:0 / / rw - xfs /dev/mapper/root rw\n");
	read_host(host);
	assert_false(get(host, "0000:00:1f.2")->root_disk);
	assert_true(get(host, "0000:00:04.0")->root_disk);

	/* A partition of a RAID, which alone knows its disks. */
	tree_file(tree, "sys/devices/virtual/block/md0/md0p1/partition", "1\n");
	tree_dir(tree, "sys/devices/virtual/block/md0/slaves");
	tree_link(tree, "sys/class/block/md0", "sys/devices/virtual/block/md0");
	tree_link(tree, "sys/class/block/md0p1", "sys/devices/virtual/block/md0/md0p1");
	tree_link(tree, "sys/dev/block/259:1", "sys/devices/virtual/block/md0/md0p1");
	tree_link(tree, "sys/devices/virtual/block/md0/slaves/sda", disk);
	tree_file(tree, "proc/self/mountinfo", "21 1 259:1 / / rw - xfs /dev/md0p1 rw\n");
	read_host(host);
	assert_true(get(host, "0000:00:1f.2")->root_disk);

	/* A file system with a number of its own names its disk. */
	tree_file(tree, "proc/self/mountinfo", "21 1 0:31 /@ / rw - btrfs /dev/sda1 rw\n");
	read_host(host);
	assert_true(get(host, "0000:00:1f.2")->root_disk);
}

static void test_odd_contents(void **state)
{
	struct host *host = *state;
	struct tree *tree = &host->tree;
	struct pci_function *function;
	char path[SYSFS_PATH_SIZE], much[9000];

	memset(much, 'x', sizeof(much) - 1);
	much[sizeof(much) - 1] = '\0';
	tree_function(tree, PF, "0x1572\n", "-5\n", NULL, -1);
	tree_attribute(tree, PF, "vendor", "\xff\xfe\n");
	tree_attribute(tree, PF, "numa_node", "99999999999999999999\n");
	tree_attribute(tree, PF, "sriov_totalvfs", "4\n");
	tree_attribute(tree, PF, "sriov_numvfs", "5\n");
	tree_attribute(tree, PF, "sriov_offset", much);
	tree_attribute(tree, PF, "sriov_vf_device", "10CA9\n");
	tree_interface(tree, PF, "e", "52:54:00:12:34:5g\n", "\x1b[2J\n");
	tree_interface(tree, PF, "longer-than-a-name-can-be", "52:54:00:12:34:56\n", "up\n");
	tree_attribute(tree, PF, "net/e/speed", "-1\n");
	tree_attribute(tree, PF, "net/e/carrier", "");
	tree_dir(tree, "sys/devices/pci0000:00/" PF "/iommu_group"); /* no link */
	/* Entries that are no functions, and a function of which there is nothing but the name. */
	tree_dir(tree, "sys/bus/pci/devices/0000:01:20.0");
	tree_dir(tree, "sys/bus/pci/devices/0000:01:00.8");
	tree_dir(tree, "sys/bus/pci/devices/..:01:00.0");
	tree_dir(tree, "sys/bus/pci/devices/00000000:02:00.0");
	tree_dir(tree, "sys/bus/pci/devices/0000:02:00.0");
	tree_link(tree, "sys/bus/pci/devices/0000:03:00.0", "nowhere");
	snprintf(path, sizeof(path), "%s/devices/pci0000:00/" PF "/driver", tree->sys);
	assert_int_equal(mkfifo(path, 0600), 0);
	/* A VF of something that is no address; a circle of two. */
	tree_link(tree, "sys/bus/pci/devices/0000:02:00.0/physfn", "sys/devices/pci0000:00/elsewhere");
	tree_file(tree, "proc/net/route", much);
	tree_file(tree, "proc/net/ipv6_route", "0 0 0\n");
	tree_file(tree, "proc/self/mountinfo", "1 2 ../.. / / rw - x y rw\n - \n21 1 0:3 / / - - \n");
	read_host(host);
	assert_int_equal(host->inventory.count, 3);
	function = get(host, PF);
	assert_int_equal(function->vendor, 0xffff);
	assert_int_equal(function->class_code, 0xffffff);
	assert_string_equal(function->class_name, "");
	assert_int_equal(function->numa_node, -1);
	assert_int_equal(function->iommu_group, -1);
	assert_string_equal(function->driver, "");
	assert_true(function->is_pf);
	assert_int_equal(function->num_vfs, 0);
	assert_int_equal(function->vf_offset, -1);
	assert_int_equal(function->vf_device, -1);
	assert_int_equal(function->n_interfaces, 1);
	assert_string_equal(function->interfaces[0].mac, "");
	assert_string_equal(function->interfaces[0].state, "?[2J");
	assert_int_equal(function->interfaces[0].carrier, -1);
	assert_int_equal(function->interfaces[0].speed_mbps, -1);
	assert_false(get(host, "0000:02:00.0")->is_vf);
	assert_int_equal(get(host, "0000:03:00.0")->vendor, 0xffff);
}

static void test_names_are_printable(void **state)
{
	struct host *host = *state;

	tree_function(&host->tree, PF, "0x1572\n", "0x020000\n", NULL, -1);
	read_host(host);
	assert_string_equal(get(host, PF)->device_name, "Odd ??? name");
	tree_remove(&host->tree, "pci.ids");
	read_host(host);
	assert_string_equal(get(host, PF)->device_name, "");
	assert_string_equal(get(host, PF)->vendor_name, "");
}

static void test_more_functions_than_fit(void **state)
{
	struct host *host = *state;
	char path[SYSFS_PATH_SIZE];

	for (unsigned int i = 0; i < PCI_MAX_FUNCTIONS + 3; i++) {
		snprintf(path, sizeof(path), "sys/bus/pci/devices/%04x:%02x:%02x.%x", i >> 16,
			 i >> 8 & 0xff, i >> 3 & 31, i & 7);
		tree_dir(&host->tree, path);
	}
	read_host(host);
	assert_int_equal(host->inventory.count, PCI_MAX_FUNCTIONS);
	assert_true(host->inventory.truncated);
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {
		"", "0000:01:00", "0000:01:00.", "0000:01:00.8", "0000:01:20.0", "000:01:00.0",
		"0000:1:00.0", "0000:01:00.0 ", "0000:01:00.00", "0000-01:00.0", "0000:0G:00.0",
		"0000:01:00,0", "000000000:01:00.0", "0000:AB:00.0",
	};
	uint64_t address;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(pci_parse_bdf(bad[i], &address), -EINVAL);
	assert_int_equal(pci_parse_bdf("10000:e1:1f.7", &address), 0);
	assert_int_equal(address, 0x10000e1ffULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_pci, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_plain_function, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pf_and_vfs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vf_of_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_group_of_several, setup, teardown),
		cmocka_unit_test_setup_teardown(test_group_larger_than_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_default_route, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thicket_of_interfaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_interfaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_are_printable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_functions_than_fit, setup, teardown),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
