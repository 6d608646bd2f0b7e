/* What the host itself uses functions for: its network interfaces, its default route, its root disk. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio/pci_uses.h"

#define MAX_DEPTH 8u   /* of interfaces on interfaces, block devices on block devices */
#define MAX_VISITS 256u /* in all, for each walk */
#define RTF_UP 0x0001u
#define RTF_REJECT 0x0200u

struct walk {
	const struct host_roots *roots;
	struct pci_inventory *inventory;
	unsigned int depth, visits;
	const char *name; /* whose directory is listed */
};

/*
 * Calls fn with each function that a path of /sys/devices leads through, the outermost first: the
 * bridges above a device, and the device.
 */
static void each_function(struct pci_inventory *inventory, char *path,
			  void (*fn)(struct pci_function *function, void *opaque), void *opaque)
{
	struct pci_function *function;
	uint64_t address;
	char *save = NULL;

	for (char *part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		if (pci_parse_bdf(part, &address) < 0)
			continue;
		function = pci_inventory_find(inventory, address);
		if (function)
			fn(function, opaque);
	}
}

static void keep_last(struct pci_function *function, void *opaque)
{
	struct pci_function **last = opaque;

	*last = function;
}

/* The function an interface belongs to; NULL: it is none of a PCI device. */
static struct pci_function *owner_of_interface(const struct host_roots *roots,
					       struct pci_inventory *inventory, const char *name)
{
	struct pci_function *owner = NULL;
	char path[SYSFS_PATH_SIZE];

	if (!sysfs_resolve(path, "%s/class/net/%s", roots->sys, name))
		each_function(inventory, path, keep_last, &owner);
	return owner;
}

static bool mac_ok(const char *text)
{
	for (unsigned int i = 0; i < 17; i++) {
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return !text[17];
}

static bool add_interface(void *opaque, const char *name)
{
	struct walk *walk = opaque;
	const char *sys = walk->roots->sys;
	struct pci_function *owner = owner_of_interface(walk->roots, walk->inventory, name);
	struct pci_interface *interface;
	int64_t carrier, speed;

	if (!owner || owner->n_interfaces == PCI_MAX_INTERFACES ||
	    strlen(name) >= sizeof(interface->name))
		return true;
	interface = &owner->interfaces[owner->n_interfaces++];
	strcpy(interface->name, name);
	sysfs_clean(interface->name);
	if (sysfs_read_text(interface->mac, sizeof(interface->mac), "%s/class/net/%s/address", sys,
			    name) < 0 ||
	    !mac_ok(interface->mac))
		interface->mac[0] = '\0';
	if (sysfs_read_text(interface->state, sizeof(interface->state), "%s/class/net/%s/operstate",
			    sys, name) < 0)
		interface->state[0] = '\0';
	interface->carrier = -1;
	if (!sysfs_read_number(&carrier, "%s/class/net/%s/carrier", sys, name))
		interface->carrier = carrier != 0;
	interface->speed_mbps = -1;
	if (!sysfs_read_number(&speed, "%s/class/net/%s/speed", sys, name) && speed >= 0 &&
	    speed <= INT32_MAX)
		interface->speed_mbps = speed;
	return true;
}

static int interface_by_name(const void *a, const void *b)
{
	return strcmp(((const struct pci_interface *)a)->name,
		      ((const struct pci_interface *)b)->name);
}

static void mark_interface(struct walk *walk, const char *name);

/* lower_X: what X this interface (a bridge, bond, VLAN, ...) stands on. */
static bool mark_lower(void *opaque, const char *name)
{
	struct walk *walk = opaque;

	if (!strncmp(name, "lower_", 6))
		mark_interface(walk, name + 6);
	return walk->visits < MAX_VISITS;
}

static void mark_interface(struct walk *walk, const char *name)
{
	struct pci_function *owner;

	if (walk->depth == MAX_DEPTH || walk->visits == MAX_VISITS || strchr(name, '/'))
		return;
	walk->visits++;
	owner = owner_of_interface(walk->roots, walk->inventory, name);
	if (owner)
		owner->default_route = true;
	walk->depth++;
	(void)sysfs_list(mark_lower, walk, "%s/class/net/%s", walk->roots->sys, name);
	walk->depth--;
}

/* "Iface Destination Gateway Flags RefCnt Use Metric Mask ..." */
static bool route4_is_default(const char *line, char *name)
{
	unsigned int destination, flags, mask;

	return sscanf(line, "%15s %8x %*8x %4x %*s %*s %*s %8x", name, &destination, &flags,
		      &mask) == 4 &&
	       !destination && !mask && flags & RTF_UP && !(flags & RTF_REJECT);
}

/* Destination, its length, source, its length, next hop, metric, two counts, flags, interface. */
static bool route6_is_default(const char *line, char *name)
{
	char destination[33];
	unsigned int length, flags;

	return sscanf(line, "%32s %2x %*32s %*2x %*32s %*8x %*8x %*8x %8x %15s", destination,
		      &length, &flags, name) == 4 &&
	       strspn(destination, "0") == 32 && !length && flags & RTF_UP &&
	       !(flags & RTF_REJECT);
}

static void mark_routes(struct walk *walk, const char *file, bool (*is_default)(const char *, char *))
{
	char path[SYSFS_PATH_SIZE], line[512], name[16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/net/%s", walk->roots->proc, file);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (is_default(line, name))
			mark_interface(walk, name);
	}
	fclose(f);
}

static void set_root_disk(struct pci_function *function, void *opaque)
{
	function->root_disk = true;
}

static void mark_block(struct walk *walk, const char *name);

static bool mark_slave(void *opaque, const char *name)
{
	struct walk *walk = opaque;

	mark_block(walk, name);
	return walk->visits < MAX_VISITS;
}

/* The controllers of an NVMe subsystem, of which the block device itself says no way. */
static bool mark_controller(void *opaque, const char *name)
{
	struct walk *walk = opaque;
	char path[SYSFS_PATH_SIZE];

	if (!strncmp(name, "nvme", 4) &&
	    !sysfs_resolve(path, "%s/class/block/%s/device/%s", walk->roots->sys, walk->name, name))
		each_function(walk->inventory, path, set_root_disk, NULL);
	return true;
}

/* A disk, a partition, or one made of others (device mapper, RAID). */
static void mark_block(struct walk *walk, const char *name)
{
	char path[SYSFS_PATH_SIZE];
	char disk[64];

	if (walk->depth == MAX_DEPTH || walk->visits == MAX_VISITS || strchr(name, '/'))
		return;
	walk->visits++;
	if (sysfs_resolve(path, "%s/class/block/%s", walk->roots->sys, name) < 0)
		return;
	if (sysfs_exists("%s/partition", path)) {
		*strrchr(path, '/') = '\0';
		snprintf(disk, sizeof(disk), "%.63s", strrchr(path, '/') ? strrchr(path, '/') + 1 : "");
		name = disk;
	}
	each_function(walk->inventory, path, set_root_disk, NULL);
	walk->depth++;
	(void)sysfs_list(mark_slave, walk, "%s/class/block/%s/slaves", walk->roots->sys, name);
	walk->depth--;
	walk->name = name;
	if (!strncmp(name, "nvme", 4))
		(void)sysfs_list(mark_controller, walk, "%s/class/block/%s/device",
				 walk->roots->sys, name);
}

/*
 * "36 35 98:0 /mnt1 / rw,noatime master:1 - ext3 /dev/sda1 rw": number, parent, device, its
 * directory, mount point. File systems without a device of their own (btrfs, overlay) have the number
 * 0:N; then the source may name a block device.
 */
static void mark_mount(struct walk *walk, char *line)
{
	char number[32], target[4], source[256], name[256] = "";
	char *rest = strstr(line, " - ");

	if (!rest || sscanf(line, "%*s %*s %31s %*s %3s", number, target) != 2 ||
	    strcmp(target, "/") || strchr(number, '/') ||
	    sscanf(rest, " - %*s %255s", source) != 1)
		return;
	if (strncmp(number, "0:", 2)) {
		char path[SYSFS_PATH_SIZE];

		if (!sysfs_resolve(path, "%s/dev/block/%s", walk->roots->sys, number))
			snprintf(name, sizeof(name), "%s",
				 strrchr(path, '/') ? strrchr(path, '/') + 1 : "");
	} else if (!strncmp(source, "/dev/mapper/", 12)) {
		char path[SYSFS_PATH_SIZE];

		if (!sysfs_resolve(path, "%s/%s", walk->roots->dev, source + 5))
			snprintf(name, sizeof(name), "%s", strrchr(path, '/') + 1);
	} else if (!strncmp(source, "/dev/", 5)) {
		snprintf(name, sizeof(name), "%s", source + 5);
	}
	if (name[0])
		mark_block(walk, name);
}

static void mark_root_disk(struct walk *walk)
{
	char path[SYSFS_PATH_SIZE], line[2048];
	FILE *f;

	snprintf(path, sizeof(path), "%s/self/mountinfo", walk->roots->proc);
	f = fopen(path, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		mark_mount(walk, line);
	fclose(f);
}

void pci_uses_read(const struct host_roots *roots, struct pci_inventory *inventory)
{
	struct walk walk = { .roots = roots, .inventory = inventory };

	(void)sysfs_list(add_interface, &walk, "%s/class/net", roots->sys);
	for (unsigned int i = 0; i < inventory->count; i++)
		qsort(inventory->functions[i].interfaces, inventory->functions[i].n_interfaces,
		      sizeof(struct pci_interface), interface_by_name);
	mark_routes(&walk, "route", route4_is_default);
	walk.visits = 0;
	mark_routes(&walk, "ipv6_route", route6_is_default);
	walk.visits = 0;
	mark_root_disk(&walk);
}
