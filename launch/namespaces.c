#include "launch/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARDED (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static int failed(char *why, size_t why_size, const char *what)
{
	int err = errno;

	snprintf(why, why_size, "an empty root: %s: %s", what, strerror(err));
	return -err;
}

int namespaces_init(struct namespaces *ns, char *why, size_t why_size)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int err = 0;

	*ns = (struct namespaces){.root = -1};
	/* A page for every directory that leads to a port, and nothing to be had by filling it. */
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "1m", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "512", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		err = failed(why, why_size, "tmpfs");
	if (!err) {
		ns->root = fsmount(fs, FSMOUNT_CLOEXEC, GUARDED);
		if (ns->root < 0)
			err = failed(why, why_size, "mounting");
	}
	if (fs >= 0)
		close(fs);
	return err;
}

/* Makes all of an absolute path in the root; its descriptor. */
static int make_path(int root, const char *path)
{
	char name[256];
	int dir = fcntl(root, F_DUPFD_CLOEXEC, 0), next;

	while (dir >= 0 && *(path += strspn(path, "/"))) {
		size_t len = strcspn(path, "/");

		if (len >= sizeof(name)) {
			close(dir);
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(name, path, len);
		name[len] = '\0';
		path += len;
		next = -1;
		/* Whatever our umask: the program is another user. */
		if (mkdirat(dir, name, 0555) == 0 ? fchmodat(dir, name, 0555, 0) == 0 :
						    errno == EEXIST)
			next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(dir);
		dir = next;
	}
	return dir;
}

int namespaces_show(struct namespaces *ns, int dir, const char *path, char *why, size_t why_size)
{
	struct mount_attr attr = {.attr_set = GUARDED | MOUNT_ATTR_RDONLY};
	int tree, at;

	if (ns->count == NAMESPACES_MAX_DIRS) {
		errno = ENOSPC;
		return failed(why, why_size, path);
	}
	tree = open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	at = tree < 0 ? -1 : make_path(ns->root, path);
	if (at < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		int err = failed(why, why_size, path);

		if (tree >= 0)
			close(tree);
		if (at >= 0)
			close(at);
		return err;
	}
	ns->dirs[ns->count].tree = tree;
	ns->dirs[ns->count++].at = at;
	return 0;
}

int namespaces_seal(struct namespaces *ns, char *why, size_t why_size)
{
	struct mount_attr attr = {.attr_set = GUARDED | MOUNT_ATTR_RDONLY};

	if (mount_setattr(ns->root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return failed(why, why_size, "read-only");
	return 0;
}

void namespaces_fini(struct namespaces *ns)
{
	for (; ns->count; ns->count--) {
		close(ns->dirs[ns->count - 1].tree);
		close(ns->dirs[ns->count - 1].at);
	}
	if (ns->root >= 0)
		close(ns->root);
	ns->root = -1;
}

pid_t namespaces_fork(int cgroup)
{
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
			 CLONE_NEWCGROUP | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
		.exit_signal = SIGCHLD,
		.cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

int namespaces_mount(const struct namespaces *ns)
{
	/* What the host mounts from now on does not show here, and nothing of ours there. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	/* On top of the root we have: seen by nobody until the program moves into it. */
	if (move_mount(ns->root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -1;
	for (unsigned int i = 0; i < ns->count; i++) {
		if (move_mount(ns->dirs[i].tree, "", ns->dirs[i].at, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
			return -1;
	}
	return 0;
}
