#include "tests/unit/vfio/tree.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define FUNCTION "sys/devices/pci0000:00/%s"

static void join(const struct tree *tree, char *path, const char *below)
{
	snprintf(path, SYSFS_PATH_SIZE, "%.63s/%.4000s", tree->dir, below);
}

/* The folders above. */
static void make_room(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
}

void tree_create(struct tree *tree)
{
	strcpy(tree->dir, "/tmp/test_vfio.XXXXXX");
	assert_non_null(mkdtemp(tree->dir));
	snprintf(tree->sys, sizeof(tree->sys), "%s/sys", tree->dir);
	snprintf(tree->proc, sizeof(tree->proc), "%s/proc", tree->dir);
	snprintf(tree->dev, sizeof(tree->dev), "%s/dev", tree->dir);
	snprintf(tree->modules, sizeof(tree->modules), "%s/modules", tree->dir);
	snprintf(tree->pci_ids, sizeof(tree->pci_ids), "%s/pci.ids", tree->dir);
	tree->roots = (struct host_roots){ tree->sys, tree->proc, tree->dev, tree->modules,
					   tree->pci_ids };
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void tree_destroy(struct tree *tree)
{
	assert_int_equal(nftw(tree->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void tree_dir(struct tree *tree, const char *path)
{
	char whole[SYSFS_PATH_SIZE];

	join(tree, whole, path);
	make_room(whole);
	(void)mkdir(whole, 0700);
}

void tree_file(struct tree *tree, const char *path, const char *text)
{
	char whole[SYSFS_PATH_SIZE];
	FILE *f;

	join(tree, whole, path);
	make_room(whole);
	f = fopen(whole, "we");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

void tree_link(struct tree *tree, const char *path, const char *target)
{
	char whole[SYSFS_PATH_SIZE], where[SYSFS_PATH_SIZE];

	join(tree, whole, path);
	join(tree, where, target);
	make_room(whole);
	assert_int_equal(symlink(where, whole), 0);
}

void tree_remove(struct tree *tree, const char *path)
{
	char whole[SYSFS_PATH_SIZE];

	join(tree, whole, path);
	assert_int_equal(nftw(whole, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void tree_attribute(struct tree *tree, const char *bdf, const char *name, const char *text)
{
	char path[SYSFS_PATH_SIZE];

	snprintf(path, sizeof(path), FUNCTION "/%s", bdf, name);
	tree_file(tree, path, text);
}

void tree_function(struct tree *tree, const char *bdf, const char *device, const char *class_code,
		   const char *driver, int group)
{
	char path[SYSFS_PATH_SIZE], target[SYSFS_PATH_SIZE], home[SYSFS_PATH_SIZE];

	snprintf(home, sizeof(home), FUNCTION, bdf);
	tree_attribute(tree, bdf, "vendor", "0x8086\n");
	tree_attribute(tree, bdf, "device", device);
	tree_attribute(tree, bdf, "class", class_code);
	tree_attribute(tree, bdf, "numa_node", "-1\n");
	snprintf(path, sizeof(path), "sys/bus/pci/devices/%s", bdf);
	tree_link(tree, path, home);
	if (driver) {
		snprintf(path, sizeof(path), FUNCTION "/driver", bdf);
		snprintf(target, sizeof(target), "sys/bus/pci/drivers/%s", driver);
		tree_dir(tree, target);
		tree_link(tree, path, target);
	}
	if (group < 0)
		return;
	snprintf(target, sizeof(target), "sys/kernel/iommu_groups/%d", group);
	snprintf(path, sizeof(path), FUNCTION "/iommu_group", bdf);
	tree_dir(tree, target);
	tree_link(tree, path, target);
	snprintf(path, sizeof(path), "sys/kernel/iommu_groups/%d/devices/%s", group, bdf);
	tree_link(tree, path, home);
}

void tree_interface(struct tree *tree, const char *bdf, const char *name, const char *mac,
		    const char *state)
{
	char path[SYSFS_PATH_SIZE], home[256];

	snprintf(home, sizeof(home), FUNCTION "/net/%s", bdf, name);
	snprintf(path, sizeof(path), "%s/address", home);
	tree_file(tree, path, mac);
	snprintf(path, sizeof(path), "%s/operstate", home);
	tree_file(tree, path, state);
	snprintf(path, sizeof(path), "sys/class/net/%s", name);
	tree_link(tree, path, home);
}
