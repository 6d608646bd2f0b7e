/*
 * Where in the file system a process may still go (Landlock), whatever its user and capabilities
 * would allow. What is open already stays open; no rule here lets a device be made or a program be
 * executed. Where the kernel knows how, TCP is forbidden as well, and so are abstract sockets and
 * signals of and to processes outside. Connecting to a socket by its path is not looked at.
 * Called once, after set-up, by the only thread: others keep what they have.
 */
#ifndef CORE_LANDLOCK_H
#define CORE_LANDLOCK_H

#include "core/bits.h"

enum landlock_use {
	LANDLOCK_READ,	/* files and directories beneath */
	LANDLOCK_WRITE, /* that, and files beneath are made, written and removed */
};

struct landlock_rule {
	const char *path; /* a directory, or one file; must be there */
	enum landlock_use use;
};

/*
 * Sets no_new_privs, too. 0; -ENOSYS or -EOPNOTSUPP where the kernel has no Landlock (nothing is
 * forbidden then); or -errno. All failures are logged; name is for the log.
 */
must_check int landlock_install(const char *name, const struct landlock_rule *rules, size_t count);

#endif
