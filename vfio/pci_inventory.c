#include "vfio/pci_inventory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio/pci_names.h"

#define DEVICES "%s/bus/pci/devices"
#define FUNCTION DEVICES "/%s"

struct reading {
	const struct host_roots *roots;
	struct pci_inventory *inventory;
	unsigned int room;
	int err;
};

/* Lower-case hexadecimal digits from `min` to `max` of them; their end, or NULL. */
static const char *parse_hex(const char *text, unsigned int min, unsigned int max, uint64_t *value)
{
	size_t n = strspn(text, "0123456789abcdef");

	if (n < min || n > max)
		return NULL;
	*value = strtoull(text, NULL, 16);
	return text + n;
}

int pci_parse_bdf(const char *text, uint64_t *address)
{
	uint64_t domain, bus, device, function;

	text = parse_hex(text, 4, 8, &domain);
	if (text && *text == ':')
		text = parse_hex(text + 1, 2, 2, &bus);
	else
		return -EINVAL;
	if (text && *text == ':')
		text = parse_hex(text + 1, 2, 2, &device);
	else
		return -EINVAL;
	if (text && *text == '.')
		text = parse_hex(text + 1, 1, 1, &function);
	else
		return -EINVAL;
	if (!text || *text || device > 31 || function > 7)
		return -EINVAL;
	*address = domain << 16 | bus << 8 | device << 3 | function;
	return 0;
}

static bool add_function(void *opaque, const char *name)
{
	struct reading *reading = opaque;
	struct pci_inventory *inventory = reading->inventory;
	struct pci_function *function;
	uint64_t address;

	if (pci_parse_bdf(name, &address) < 0 || strlen(name) >= PCI_BDF_SIZE)
		return true;
	if (inventory->count == PCI_MAX_FUNCTIONS) {
		inventory->truncated = true;
		return false;
	}
	if (inventory->count == reading->room) {
		reading->room = reading->room ? 2 * reading->room : 64;
		function = realloc(inventory->functions, reading->room * sizeof(*function));
		if (!function) {
			reading->err = -ENOMEM;
			return false;
		}
		inventory->functions = function;
	}
	function = &inventory->functions[inventory->count++];
	memset(function, 0, sizeof(*function));
	strcpy(function->bdf, name);
	function->address = address;
	return true;
}

static int by_address(const void *a, const void *b)
{
	const struct pci_function *first = a, *second = b;

	return (first->address > second->address) - (first->address < second->address);
}

struct pci_function *pci_inventory_find(const struct pci_inventory *inventory, uint64_t address)
{
	struct pci_function key = { .address = address };

	return inventory->count ? bsearch(&key, inventory->functions, inventory->count, sizeof(key),
					  by_address) :
				  NULL;
}

/* A number of the function's directory within limits, or `otherwise`. */
static int64_t attribute(const struct host_roots *roots, const char *bdf, const char *name,
			 int64_t max, int64_t otherwise)
{
	int64_t value;

	if (sysfs_read_number(&value, FUNCTION "/%s", roots->sys, bdf, name) < 0 || value < 0 ||
	    value > max)
		return otherwise;
	return value;
}

static void read_sriov(const struct host_roots *roots, struct pci_function *function)
{
	const char *bdf = function->bdf;
	uint64_t address;
	char text[16];

	function->vf_index = -1;
	function->is_vf = !sysfs_read_link(function->pf, sizeof(function->pf), FUNCTION "/physfn",
					   roots->sys, bdf) &&
			  !pci_parse_bdf(function->pf, &address);
	if (!function->is_vf)
		function->pf[0] = '\0';
	function->total_vfs = (unsigned int)attribute(roots, bdf, "sriov_totalvfs", UINT16_MAX, 0);
	function->is_pf = function->total_vfs > 0;
	if (!function->is_pf)
		return;
	function->num_vfs = (unsigned int)attribute(roots, bdf, "sriov_numvfs",
						    function->total_vfs, 0);
	function->vf_offset = (int)attribute(roots, bdf, "sriov_offset", UINT16_MAX, -1);
	function->vf_stride = (int)attribute(roots, bdf, "sriov_stride", UINT16_MAX, -1);
	function->vf_device = -1;
	/* Hexadecimal without 0x, unlike the others. */
	if (!sysfs_read_text(text, sizeof(text), FUNCTION "/sriov_vf_device", roots->sys, bdf) &&
	    strlen(text) == 4 && strspn(text, "0123456789abcdef") == 4)
		function->vf_device = (int)strtoul(text, NULL, 16);
}

static void read_function(const struct host_roots *roots, struct pci_names *names,
			  struct pci_function *function)
{
	const char *bdf = function->bdf;
	char group[16], *end;

	function->vendor = (uint16_t)attribute(roots, bdf, "vendor", UINT16_MAX, 0xffff);
	function->device = (uint16_t)attribute(roots, bdf, "device", UINT16_MAX, 0xffff);
	function->class_code = (uint32_t)attribute(roots, bdf, "class", 0xffffff, 0xffffff);
	pci_names_vendor(names, function->vendor_name, PCI_NAME_SIZE, function->vendor);
	pci_names_device(names, function->device_name, PCI_NAME_SIZE, function->vendor,
			 function->device);
	pci_names_class(names, function->class_name, PCI_NAME_SIZE, function->class_code);
	if (sysfs_read_link(function->driver, PCI_DRIVER_SIZE, FUNCTION "/driver", roots->sys,
			    bdf) < 0)
		function->driver[0] = '\0';
	/* The kernel says -1 where there is but one. */
	function->numa_node = (int)attribute(roots, bdf, "numa_node", UINT16_MAX, -1);
	function->iommu_group = -1;
	if (!sysfs_read_link(group, sizeof(group), FUNCTION "/iommu_group", roots->sys, bdf) &&
	    group[0] >= '0' && group[0] <= '9') {
		unsigned long n = strtoul(group, &end, 10);

		if (!*end && n <= INT32_MAX)
			function->iommu_group = (int)n;
	}
	read_sriov(roots, function);
}

/* The PF's own count of its VFs: virtfnN leads to one. */
static void number_vfs(const struct host_roots *roots, const struct pci_inventory *inventory,
		       const struct pci_function *pf)
{
	char bdf[PCI_BDF_SIZE];
	struct pci_function *vf;
	uint64_t address;

	for (unsigned int n = 0; n < MIN(pf->num_vfs, PCI_MAX_FUNCTIONS); n++) {
		if (sysfs_read_link(bdf, sizeof(bdf), FUNCTION "/virtfn%u", roots->sys, pf->bdf,
				    n) < 0 ||
		    pci_parse_bdf(bdf, &address) < 0)
			continue;
		vf = pci_inventory_find(inventory, address);
		if (vf && vf->is_vf && !strcmp(vf->pf, pf->bdf))
			vf->vf_index = (int)n;
	}
}

struct group_reading {
	const struct host_roots *roots;
	struct pci_function *function;
};

static bool add_member(void *opaque, const char *name)
{
	struct group_reading *reading = opaque;
	struct pci_function *function = reading->function;
	struct pci_member *member;

	function->group_devices++;
	if (!strcmp(name, function->bdf) || function->n_others == PCI_MAX_MEMBERS)
		return true;
	member = &function->others[function->n_others++];
	snprintf(member->name, sizeof(member->name), "%s", name);
	sysfs_clean(member->name);
	if (sysfs_read_link(member->driver, sizeof(member->driver),
			    "%s/kernel/iommu_groups/%d/devices/%s/driver", reading->roots->sys,
			    function->iommu_group, name) < 0)
		member->driver[0] = '\0';
	return true;
}

static int member_by_name(const void *a, const void *b)
{
	return strcmp(((const struct pci_member *)a)->name, ((const struct pci_member *)b)->name);
}

static void read_group(const struct host_roots *roots, struct pci_function *function)
{
	struct group_reading reading = { roots, function };

	if (function->iommu_group < 0)
		return;
	(void)sysfs_list(add_member, &reading, "%s/kernel/iommu_groups/%d/devices", roots->sys,
			 function->iommu_group);
	qsort(function->others, function->n_others, sizeof(function->others[0]), member_by_name);
}

int pci_inventory_read(const struct host_roots *roots, struct pci_inventory *inventory)
{
	struct reading reading = { .roots = roots, .inventory = inventory };
	struct pci_names *names = pci_names_open(roots->pci_ids);

	memset(inventory, 0, sizeof(*inventory));
	if (!names)
		return -ENOMEM;
	(void)sysfs_list(add_function, &reading, DEVICES, roots->sys);
	if (reading.err) {
		pci_names_close(names);
		pci_inventory_release(inventory);
		return reading.err;
	}
	if (inventory->count)
		qsort(inventory->functions, inventory->count, sizeof(inventory->functions[0]),
		      by_address);
	for (unsigned int i = 0; i < inventory->count; i++) {
		read_function(roots, names, &inventory->functions[i]);
		read_group(roots, &inventory->functions[i]);
	}
	pci_names_close(names);
	for (unsigned int i = 0; i < inventory->count; i++)
		number_vfs(roots, inventory, &inventory->functions[i]);
	return 0;
}

void pci_inventory_release(struct pci_inventory *inventory)
{
	free(inventory->functions);
	memset(inventory, 0, sizeof(*inventory));
}

const struct pci_member *pci_group_blocker(const struct pci_function *function)
{
	/* Of the drivers that leave DMA alone; the rest of the kernel's have it for themselves. */
	static const char *const harmless[] = { "", "pcieport", "pci-stub", "vfio-pci", "vfio_pci" };

	for (unsigned int i = 0; i < function->n_others; i++) {
		const struct pci_member *member = &function->others[i];
		unsigned int n = 0;

		while (n < ARRAY_SIZE(harmless) && strcmp(member->driver, harmless[n]))
			n++;
		if (n == ARRAY_SIZE(harmless) && !strstr(member->driver, "-vfio-pci"))
			return member;
	}
	return NULL;
}
