/*
 * Small files and links of sysfs, procfs and their like, as text that is safe to hand on: bounded, one
 * line, printable. Paths are formats; the roots they begin with are parameters, so that tests bring
 * trees of their own. Any thread.
 */
#ifndef VFIO_SYSFS_H
#define VFIO_SYSFS_H

#include "core/bits.h"

#define SYSFS_PATH_SIZE 4096u
#define SYSFS_MAX_ENTRIES 65536u /* of one directory */

/* Where the host tells of itself. */
struct host_roots {
	const char *sys;     /* "/sys" */
	const char *proc;    /* "/proc" */
	const char *dev;     /* "/dev" */
	const char *modules; /* "/lib/modules" */
	const char *pci_ids; /* names of vendors and devices; NULL: where libpci finds them */
};

extern const struct host_roots host_roots_real;

/*
 * The first line of a file without its newline; longer ones are cut at `size`, unprintable
 * characters become '?'. 0 or -errno; then text is empty.
 */
must_check __attribute__((format(printf, 3, 4))) int sysfs_read_text(char *text, size_t size,
								     const char *fmt, ...);
/* A number as C writes it, nothing behind it. -EINVAL: it is none, or out of range. */
must_check __attribute__((format(printf, 2, 3))) int sysfs_read_number(int64_t *number,
								       const char *fmt, ...);
/* The last part of what a symbolic link points to. -ENAMETOOLONG where it does not fit. */
must_check __attribute__((format(printf, 3, 4))) int sysfs_read_link(char *name, size_t size,
								     const char *fmt, ...);
/* Where a path ends when all links are followed; path has SYSFS_PATH_SIZE bytes. */
must_check __attribute__((format(printf, 2, 3))) int sysfs_resolve(char *path, const char *fmt, ...);
__attribute__((format(printf, 1, 2))) bool sysfs_exists(const char *fmt, ...);

/* Called with each name of a directory but . and ..; false: no more. */
typedef bool (*sysfs_entry_fn)(void *opaque, const char *name);
/* In no order. 0 or -errno of opening it. */
__attribute__((format(printf, 3, 4))) int sysfs_list(sysfs_entry_fn fn, void *opaque,
						      const char *fmt, ...);

/* Unprintable characters become '?', also what is no ASCII. */
void sysfs_clean(char *text);

#endif
