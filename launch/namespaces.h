/*
 * The namespaces of one program and the root directory it is to live in: an empty, read-only file
 * system in memory, with nothing in it but the directories it is given. Network, processes, System V
 * IPC, host name and control groups are its own as well. No user namespace: these come from root,
 * so they need none, and a kernel that has user namespaces switched off serves as well.
 *
 * The program enters the root itself (vmm --root), once the dynamic loader has been at work: before
 * that it needs the host's libraries. Functions return 0 or -errno with a line in `why`.
 */
#ifndef LAUNCH_NAMESPACES_H
#define LAUNCH_NAMESPACES_H

#include <stddef.h>
#include <sys/types.h>

#include "core/bits.h"

#define NAMESPACES_MAX_DIRS 32

struct namespaces {
	int root; /* descriptor of the root, mounted nowhere yet */
	struct {
		int tree; /* a directory of the host's, cloned as a mount, mounted nowhere yet */
		int at;	  /* its place in the root */
	} dirs[NAMESPACES_MAX_DIRS];
	unsigned int count;
};

must_check int namespaces_init(struct namespaces *ns, char *why, size_t why_size);
/* Shows dir, read-only, at this absolute path. A socket in it can be connected to. */
must_check int namespaces_show(struct namespaces *ns, int dir, const char *path, char *why,
			       size_t why_size);
/* Nothing more is made in the root. */
must_check int namespaces_seal(struct namespaces *ns, char *why, size_t why_size);
void namespaces_fini(struct namespaces *ns);

/*
 * fork() into new namespaces; the child is the first process of its own, so signals it has no
 * handler for do not reach it, except SIGKILL from here. cgroup: descriptor of the control group
 * it begins in, or -1.
 */
pid_t namespaces_fork(int cgroup);
/* In the child, as root: mounts what was prepared. -1 with errno. */
must_check int namespaces_mount(const struct namespaces *ns);

#endif
