#include "launch/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

bool cgroups_find(FILE *mountinfo, char *path, size_t size)
{
	char line[4096], point[1024];
	bool found = false;

	/* ID PARENT DEVICE ROOT POINT OPTIONS ... - TYPE SOURCE ... (proc(5)) */
	while (!found && fgets(line, sizeof(line), mountinfo)) {
		const char *type = strstr(line, " - ");

		found = type && !strncmp(type, " - cgroup2 ", 11) &&
			sscanf(line, "%*s %*s %*s %*s %1023s", point) == 1 &&
			strlen(point) < size;
	}
	if (found)
		strcpy(path, point);
	return found;
}

static int put(int dir, const char *file, const char *text)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int err = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

static bool lists(int dir, const char *file, const char *word)
{
	char text[512] = " ";
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text + 1, sizeof(text) - 3);
	char wanted[32];

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n + 1] = '\0';
	text[strcspn(text, "\n")] = ' ';
	snprintf(wanted, sizeof(wanted), " %s ", word);
	return strstr(text, wanted);
}

/* The groups below get a controller when this one hands it on. */
static int hand_on(int dir, const char *controller)
{
	char text[32];

	if (lists(dir, "cgroup.subtree_control", controller))
		return 0;
	if (!lists(dir, "cgroup.controllers", controller))
		return -ENODEV;
	snprintf(text, sizeof(text), "+%s", controller);
	return put(dir, "cgroup.subtree_control", text);
}

static int open_groups(char *why, size_t why_size)
{
	FILE *mountinfo = fopen("/proc/self/mountinfo", "re");
	char path[1024];
	bool found;
	int dir, err;

	found = mountinfo && cgroups_find(mountinfo, path, sizeof(path));
	if (mountinfo)
		fclose(mountinfo);
	if (!found) {
		snprintf(why, why_size, "version 2 is not mounted");
		return -1;
	}
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = dir < 0 ? -errno : hand_on(dir, "memory");
	if (!err)
		err = hand_on(dir, "pids");
	if (!err)
		return dir;
	snprintf(why, why_size, "the controllers memory and pids cannot be had at %s: %s", path,
		 err == -ENODEV ? "they are not there (in use by version 1?)" : strerror(-err));
	if (dir >= 0)
		close(dir);
	return -1;
}

void cgroups_init(struct cgroups *groups, const char *run_dir)
{
	char why[1200];
	char *c = groups->prefix;

	snprintf(groups->prefix, sizeof(groups->prefix), "vmm%.160s", run_dir);
	while ((c = strchr(c, '/')))
		*c = '-';
	groups->dir = open_groups(why, sizeof(why));
	if (groups->dir < 0)
		log_warn("no limits by control group: %s; what bounds a VM's memory and threads is "
			 "setrlimit only",
			 why);
}

static void name_of(const struct cgroups *groups, const char *id, char *name)
{
	snprintf(name, CGROUP_NAME_SIZE, "%s-%s", groups->prefix, id);
}

static int set(int dir, const struct cgroup_limits *limits)
{
	char text[32];
	int err;

	snprintf(text, sizeof(text), "%" PRIu64, limits->memory);
	err = put(dir, "memory.max", text);
	if (!err) {
		snprintf(text, sizeof(text), "%u", limits->pids);
		err = put(dir, "pids.max", text);
	}
	/* All of the process or nothing; kernels before 4.19 lack it. */
	if (!err)
		(void)put(dir, "memory.oom.group", "1");
	return err;
}

int cgroups_create(const struct cgroups *groups, const char *id,
		   const struct cgroup_limits *limits, char *why, size_t why_size)
{
	char name[CGROUP_NAME_SIZE];
	int dir, err;

	if (groups->dir < 0)
		return -ENOENT;
	name_of(groups, id, name);
	/* One that an earlier VM of this id has left is as good: its process is dead. */
	err = mkdirat(groups->dir, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	dir = err ? -1 : openat(groups->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!err && dir < 0)
		err = -errno;
	if (!err)
		err = set(dir, limits);
	if (!err)
		return dir;
	snprintf(why, why_size, "control group %s: %s", name, strerror(-err));
	if (dir >= 0)
		close(dir);
	return err == -ENOENT ? -EIO : err;
}

void cgroups_remove(const struct cgroups *groups, const char *id)
{
	char name[CGROUP_NAME_SIZE];

	if (groups->dir < 0)
		return;
	name_of(groups, id, name);
	if (unlinkat(groups->dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_warn("control group %s stays: %s", name, strerror(errno));
}
