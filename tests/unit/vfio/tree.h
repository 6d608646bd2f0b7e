/* A made host: files and links beneath a temporary directory, and roots that lead there. */
#ifndef TESTS_VFIO_TREE_H
#define TESTS_VFIO_TREE_H

#include "vfio/sysfs.h"

struct tree {
	char dir[64];
	char sys[80], proc[80], dev[80], modules[80], pci_ids[80];
	struct host_roots roots;
};

/* A host without anything. Both assert. */
void tree_create(struct tree *tree);
void tree_destroy(struct tree *tree);

/* Paths are below the tree's directory ("sys/class/net"); folders above are made as needed. */
void tree_dir(struct tree *tree, const char *path);
void tree_file(struct tree *tree, const char *path, const char *text);
/* target: below the tree's directory. */
void tree_link(struct tree *tree, const char *path, const char *target);
void tree_remove(struct tree *tree, const char *path);

/*
 * A function as sysfs has it: sys/devices/pci0000:00/BDF with vendor 8086, this device and class,
 * and its links; `driver` and `group` may be NULL and -1.
 */
void tree_function(struct tree *tree, const char *bdf, const char *device, const char *class_code,
		   const char *driver, int group);
/* A file of a function's directory. */
void tree_attribute(struct tree *tree, const char *bdf, const char *name, const char *text);
/* An interface of a function. */
void tree_interface(struct tree *tree, const char *bdf, const char *name, const char *mac,
		    const char *state);

#endif
