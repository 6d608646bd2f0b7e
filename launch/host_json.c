#include "launch/host_json.h"

#include <stdio.h>

#include "core/jsonrpc.h"
#include "vfio/pci_inventory.h"

/* The rest of a message's line is for what is around it. */
#define MAX_TEXT (JSONRPC_MAX_LINE - 4096u)

/* Words that may be missing, or whole numbers of which -1 is none. */
static json_t *word(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static json_t *number(int64_t n)
{
	return n >= 0 ? json_integer(n) : json_null();
}

static json_t *hex(unsigned int digits, int64_t n)
{
	char text[16];

	if (n < 0)
		return json_null();
	snprintf(text, sizeof(text), "%0*llx", (int)digits, (unsigned long long)n);
	return json_string(text);
}

static json_t *group_json(const struct pci_function *function)
{
	json_t *others;

	if (function->iommu_group < 0)
		return json_null();
	others = json_array();
	for (unsigned int i = 0; i < function->n_others; i++)
		json_array_append_new(others, json_pack("{s:s, s:o}", "name",
							function->others[i].name, "driver",
							word(function->others[i].driver)));
	return json_pack("{s:i, s:i, s:o}", "id", function->iommu_group, "devices",
			 (int)function->group_devices, "others", others);
}

static json_t *sriov_json(const struct pci_function *function)
{
	if (!function->is_pf)
		return json_null();
	return json_pack("{s:i, s:i, s:o, s:o, s:o}", "total_vfs", (int)function->total_vfs,
			 "num_vfs", (int)function->num_vfs, "vf_offset",
			 number(function->vf_offset), "vf_stride", number(function->vf_stride),
			 "vf_device_id", hex(4, function->vf_device));
}

static json_t *vf_json(const struct pci_function *function)
{
	if (!function->is_vf)
		return json_null();
	return json_pack("{s:s, s:o}", "pf", function->pf, "index", number(function->vf_index));
}

static json_t *interfaces_json(const struct pci_function *function)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < function->n_interfaces; i++) {
		const struct pci_interface *each = &function->interfaces[i];
		json_t *carrier = each->carrier < 0 ? json_null() : json_boolean(each->carrier);

		json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o, s:o}", "name", each->name,
						      "mac", word(each->mac), "state",
						      word(each->state), "carrier", carrier,
						      "speed_mbps", number(each->speed_mbps)));
	}
	return list;
}

static json_t *function_json(const struct pci_function *function)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b}",
			 "bdf", function->bdf, "vendor_id", hex(4, function->vendor), "device_id",
			 hex(4, function->device), "class_id", hex(6, function->class_code), "vendor",
			 word(function->vendor_name), "device", word(function->device_name), "class",
			 word(function->class_name), "driver", word(function->driver), "numa_node",
			 number(function->numa_node), "iommu_group", group_json(function), "sriov",
			 sriov_json(function), "vf_of", vf_json(function), "interfaces",
			 interfaces_json(function), "default_route", function->default_route,
			 "root_disk", function->root_disk);
}

json_t *host_json_pci(const struct host_roots *roots)
{
	struct pci_inventory inventory;
	size_t size = 0, more;
	json_t *items, *item;
	unsigned int i;

	if (pci_inventory_read(roots, &inventory) < 0)
		return NULL;
	items = json_array();
	for (i = 0; i < inventory.count; i++) {
		item = function_json(&inventory.functions[i]);
		more = item ? json_dumpb(item, NULL, 0, JSON_COMPACT) + 1 : 0;
		if (!more || size + more > MAX_TEXT || json_array_append(items, item) < 0) {
			json_decref(item);
			break;
		}
		json_decref(item);
		size += more;
	}
	item = json_pack("{s:o, s:b}", "items", items, "truncated",
			 inventory.truncated || i < inventory.count);
	pci_inventory_release(&inventory);
	return item;
}
