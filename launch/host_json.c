#include "launch/host_json.h"

#include <linux/capability.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/jsonrpc.h"
#include "vfio/host_doctor.h"
#include "vfio/pci_uses.h"

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

/* Items until a message is full. */
struct item_list {
	json_t *items;
	size_t size;
	bool truncated;
};

/* item is stolen; NULL: out of memory. */
static void add_item(struct item_list *list, json_t *item)
{
	size_t more = item ? json_dumpb(item, NULL, 0, JSON_COMPACT) + 1 : 0;

	if (list->truncated || !more || list->size + more > MAX_TEXT) {
		list->truncated = true;
		json_decref(item);
		return;
	}
	json_array_append_new(list->items, item);
	list->size += more;
}

static json_t *finish(const struct item_list *list)
{
	return json_pack("{s:o, s:b}", "items", list->items, "truncated", list->truncated);
}

static int read_functions(const struct host_roots *roots, struct pci_inventory *inventory)
{
	int err = pci_inventory_read(roots, inventory);

	if (!err)
		pci_uses_read(roots, inventory);
	return err;
}

json_t *host_json_pci(const struct host_roots *roots)
{
	struct item_list list = { .items = json_array() };
	struct pci_inventory inventory;

	if (read_functions(roots, &inventory) < 0) {
		json_decref(list.items);
		return NULL;
	}
	for (unsigned int i = 0; i < inventory.count; i++)
		add_item(&list, function_json(&inventory.functions[i]));
	list.truncated |= inventory.truncated;
	pci_inventory_release(&inventory);
	return finish(&list);
}

static void add_check(void *opaque, const struct doctor_check *check)
{
	static const char *const words[] = {
		[DOCTOR_OK] = "ok",
		[DOCTOR_UNKNOWN] = "unknown",
		[DOCTOR_WARNING] = "warning",
		[DOCTOR_BLOCKER] = "blocker",
	};

	add_item(opaque, json_pack("{s:s, s:o, s:s, s:s, s:s, s:o}", "id", check->id, "subject",
				   word(check->subject), "status", words[check->status], "found",
				   check->found, "why", check->why, "fix", word(check->fix)));
}

/* Without libcap-ng, whose one memory of capabilities is for those who are started (spawn.c). */
static bool may_raise_limits(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return !syscall(SYS_capget, &header, data) &&
	       data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective & CAP_TO_MASK(CAP_SYS_RESOURCE);
}

json_t *host_json_doctor(const struct host_roots *roots)
{
	struct item_list list = { .items = json_array() };
	struct doctor_self self = { .memlock = UINT64_MAX };
	struct pci_inventory inventory;
	struct rlimit limit;

	if (read_functions(roots, &inventory) < 0) {
		json_decref(list.items);
		return NULL;
	}
	if (!getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_max != RLIM_INFINITY)
		self.memlock = limit.rlim_max;
	self.may_raise = may_raise_limits();
	host_doctor_run(roots, &inventory, &self, add_check, &list);
	list.truncated |= inventory.truncated;
	pci_inventory_release(&inventory);
	return finish(&list);
}
