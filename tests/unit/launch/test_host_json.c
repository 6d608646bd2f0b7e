/* The host's functions as JSON: whole, and no longer than a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/jsonrpc.h"
#include "launch/host_json.h"
#include "tests/unit/vfio/tree.h"
#include "vfio/pci_inventory.h"

static int setup(void **state)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	assert_non_null(tree);
	tree_create(tree);
	*state = tree;
	return 0;
}

static int teardown(void **state)
{
	tree_destroy(*state);
	free(*state);
	return 0;
}

static void test_what_is_unknown_is_null(void **state)
{
	struct tree *tree = *state;
	json_t *told, *expected;

	tree_function(tree, "0000:01:00.0", "0x10c9\n", "0x020000\n", NULL, -1);
	told = host_json_pci(&tree->roots);
	expected = json_loads("{\"items\": [{\"bdf\": \"0000:01:00.0\", \"vendor_id\": \"8086\", "
			      "\"device_id\": \"10c9\", \"class_id\": \"020000\", \"vendor\": null, "
			      "\"device\": null, \"class\": null, \"driver\": null, "
			      "\"numa_node\": null, \"iommu_group\": null, \"sriov\": null, "
			      "\"vf_of\": null, \"interfaces\": [], \"default_route\": false, "
			      "\"root_disk\": false}], \"truncated\": false}", 0, NULL);
	assert_non_null(expected);
	assert_true(json_equal(told, expected));
	json_decref(told);
	json_decref(expected);
}

/* All in one group of long names: each tells 16 of them, and together they are more than a message holds. */
static void test_more_than_a_message(void **state)
{
	struct tree *tree = *state;
	char path[128];
	size_t size, count;
	json_t *told;

	for (unsigned int i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		snprintf(path, sizeof(path), "sys/bus/pci/devices/0000:%02x:%02x.%x/iommu_group",
			 i >> 8 & 0xff, i >> 3 & 31, i & 7);
		tree_link(tree, path, "sys/kernel/iommu_groups/4");
	}
	for (unsigned int i = 0; i < PCI_MAX_MEMBERS; i++) {
		snprintf(path, sizeof(path),
			 "sys/kernel/iommu_groups/4/devices/%031u/driver", i);
		tree_link(tree, path, "sys/bus/pci/drivers/a_driver_whose_name_is_long_too");
	}
	told = host_json_pci(&tree->roots);
	assert_true(json_is_true(json_object_get(told, "truncated")));
	count = json_array_size(json_object_get(told, "items"));
	assert_in_range(count, 500, PCI_MAX_FUNCTIONS - 1);
	size = json_dumpb(told, NULL, 0, JSON_COMPACT);
	assert_in_range(size, 1, JSONRPC_MAX_LINE - 256);
	json_decref(told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_unknown_is_null, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_than_a_message, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
