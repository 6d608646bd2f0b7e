#include "core/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/log.h"

/* What Debian 12's headers do not know yet; numbers are the kernel's. */
#define FS_TRUNCATE	 (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV	 (1ull << 15) /* ABI 5 */
#define NET_BIND_TCP	 (1ull << 0)  /* ABI 4 */
#define NET_CONNECT_TCP	 (1ull << 1)
#define SCOPE_ABSTRACT	 (1ull << 0)  /* ABI 6 */
#define SCOPE_SIGNAL	 (1ull << 1)

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                   \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |                          \
	 LANDLOCK_ACCESS_FS_MAKE_REG | FS_TRUNCATE)
#define FS_OF_A_FILE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

/* All that this kernel can forbid; returns how much of it the kernel knows. */
static size_t forbid_all(int abi, struct ruleset_attr *attr)
{
	*attr = (struct ruleset_attr){.fs = FS_TRUNCATE - 1};
	if (abi < 2)
		attr->fs &= ~LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr->fs |= FS_TRUNCATE;
	if (abi >= 5)
		attr->fs |= FS_IOCTL_DEV;
	if (abi >= 4)
		attr->net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 6)
		attr->scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	return abi >= 6 ? sizeof(*attr) :
	       abi >= 4 ? offsetof(struct ruleset_attr, scoped) :
			  offsetof(struct ruleset_attr, net);
}

static int add_rule(int ruleset, uint64_t known, const struct landlock_rule *rule)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = (rule->use == LANDLOCK_WRITE ? FS_READ | FS_WRITE : FS_READ) & known,
		.parent_fd = open(rule->path, O_PATH | O_CLOEXEC),
	};
	struct stat st;
	int err = 0;

	if (beneath.parent_fd < 0 || fstat(beneath.parent_fd, &st) < 0)
		err = -errno;
	if (!err && !S_ISDIR(st.st_mode))
		beneath.allowed_access &= FS_OF_A_FILE;
	if (!err && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		err = -errno;
	if (beneath.parent_fd >= 0)
		close(beneath.parent_fd);
	return err;
}

static int restrict_self(int ruleset)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	return 0;
}

int landlock_install(const char *name, const struct landlock_rule *rules, size_t count)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset_attr attr;
	int ruleset, err = 0;

	if (abi < 0) {
		err = -errno;
		log_warn("%s: this kernel has no Landlock (%s): files are guarded by their modes "
			 "only",
			 name, strerror(-err));
		return err;
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, forbid_all(abi, &attr), 0);
	if (ruleset < 0)
		err = -errno;
	for (size_t i = 0; i < count && !err; i++) {
		err = add_rule(ruleset, attr.fs, &rules[i]);
		if (err)
			log_err("%s: no Landlock rule for %s: %s", name, rules[i].path,
				strerror(-err));
	}
	if (!err)
		err = restrict_self(ruleset);
	if (err)
		log_err("%s: Landlock cannot be set up: %s", name, strerror(-err));
	if (ruleset >= 0)
		close(ruleset);
	return err;
}
