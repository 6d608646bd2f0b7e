/*
 * One control group (version 2) for each VM: how much memory and how many threads its vmm may have,
 * whatever it tries. The groups lie side by side in the group that is the root of what is mounted
 * here; a host without version 2, or where its memory and pids controllers cannot be had, is told
 * so once, and its VMs have the limits of setrlimit(2) only.
 */
#ifndef LAUNCH_CGROUP_H
#define LAUNCH_CGROUP_H

#include <stdio.h>

#include "core/bits.h"

#define CGROUP_NAME_SIZE 256

struct cgroups {
	int dir; /* -1: there are none */
	char prefix[192]; /* of this instance's: from its run directory */
};

struct cgroup_limits {
	uint64_t memory; /* bytes, swap not counted */
	unsigned int pids; /* threads, the kernel's for io_uring included */
};

/* Says what is wrong when there are none. */
void cgroups_init(struct cgroups *groups, const char *run_dir);

/* A descriptor of the VM's group, -ENOENT where there are none, or -errno with a line in `why`. */
must_check int cgroups_create(const struct cgroups *groups, const char *id,
			      const struct cgroup_limits *limits, char *why, size_t why_size);
/* After its last process has ended. */
void cgroups_remove(const struct cgroups *groups, const char *id);

/* Where version 2 is mounted, from a file in the format of /proc/self/mountinfo. False: nowhere. */
bool cgroups_find(FILE *mountinfo, char *path, size_t size);

#endif
