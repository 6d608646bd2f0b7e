#include "launch/dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "launch/launch.h"

#define LOG_KEEP (4 * MIB) /* bytes: a log longer than this starts anew with the process */
#define BACKLOG	 16
#define REMOVE_MAX 256u /* entries of a directory we clear */

static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

static bool made_of(const char *id, const char *also, size_t max)
{
	size_t len = strlen(id);

	if (!len || len > max)
		return false;
	for (; *id; id++) {
		if (!strchr(letters, *id) && !strchr(also, *id))
			return false;
	}
	return true;
}

bool dirs_vm_id_ok(const char *id)
{
	return made_of(id, "", 32);
}

bool dirs_port_id_ok(const char *id)
{
	return id[0] != '.' && made_of(id, ".", 65);
}

static int failed(char *why, size_t why_size, const char *what, const char *name)
{
	int err = errno;

	snprintf(why, why_size, "%s %s: %s", what, name, strerror(err));
	return -err;
}

/* How many entries it has; 0 when that cannot be told. */
static unsigned int count_entries(int parent)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned int n = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* . and .. */
}

/* Makes a directory or takes the one that is there; its owner and mode are ours in both cases. */
static int make_dir(int parent, const char *name, uid_t uid, gid_t gid, mode_t mode, char *why,
		    size_t why_size)
{
	int fd;

	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return failed(why, why_size, "making directory", name);
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(why, why_size, "opening directory", name);
	/* The mode last: chown clears setgid. */
	if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0) {
		int err = failed(why, why_size, "owning directory", name);

		close(fd);
		return err;
	}
	return fd;
}

/* One more in a directory that the client may fill. */
static int make_one_of_many(int parent, const char *name, uid_t uid, gid_t gid, mode_t mode,
			    char *why, size_t why_size)
{
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && count_entries(parent) >= DIRS_MAX) {
		snprintf(why, why_size, "%s: there are %u already, and no more are made", name, DIRS_MAX);
		return -EDQUOT;
	}
	return make_dir(parent, name, uid, gid, mode, why, why_size);
}

static int open_run(const char *path, char *why, size_t why_size)
{
	struct stat st;
	int fd;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return failed(why, why_size, "making directory", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = failed(why, why_size, "opening directory", path);

		if (fd >= 0)
			close(fd);
		return err;
	}
	if (st.st_uid || st.st_mode & 022) {
		snprintf(why, why_size,
			 "run directory %s: owner %u, mode %04o; it must be root's, and no other's "
			 "to write in",
			 path, st.st_uid, st.st_mode & 07777);
		close(fd);
		return -EPERM;
	}
	if (fchmod(fd, 0755) < 0) {
		int err = failed(why, why_size, "mode of", path);

		close(fd);
		return err;
	}
	return fd;
}

int dirs_init(struct run_dirs *dirs, const char *run_dir, uid_t mgmt_uid, char *why,
	      size_t why_size)
{
	int run = open_run(run_dir, why, why_size);
	int scratch = -1;

	if (run < 0)
		return run;
	*dirs = (struct run_dirs){.mgmt_uid = mgmt_uid, .vswitch = -1, .vms = -1, .ports = -1};
	dirs->vms = make_dir(run, "vms", 0, 0, 0711, why, why_size);
	if (dirs->vms >= 0)
		dirs->ports = make_dir(run, "ports", 0, 0, 0711, why, why_size);
	if (dirs->ports >= 0)
		dirs->vswitch = make_dir(run, "vswitch", 0, mgmt_uid, 0751, why, why_size);
	if (dirs->vswitch >= 0)
		scratch = make_dir(dirs->vswitch, "run", LAUNCH_SWITCH_UID, LAUNCH_SWITCH_UID,
				   0700, why, why_size);
	close(run);
	if (scratch < 0)
		return -EIO;
	close(scratch);
	return 0;
}

int dirs_lock(const struct run_dirs *dirs)
{
	return flock(dirs->vms, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

int dirs_open_vm(const struct run_dirs *dirs, const char *id, char *why, size_t why_size)
{
	return make_one_of_many(dirs->vms, id, 0, dirs->mgmt_uid, 0750, why, why_size);
}

int dirs_set_uid(const struct run_dirs *dirs, int dir, uid_t uid, char *why, size_t why_size)
{
	int fd = openat(dir, "uid", O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0);

	if (fd < 0 || fchown(fd, uid, dirs->mgmt_uid) < 0) {
		int err = failed(why, why_size, "making", "uid");

		if (fd >= 0)
			close(fd);
		return err;
	}
	close(fd);
	return 0;
}

/* The lock of its log tells. */
static bool vm_lives(const struct run_dirs *dirs, const char *id)
{
	int dir = openat(dirs->vms, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char why[128];
	int log;

	if (dir < 0)
		return false;
	log = dirs_open_log(dir, why, sizeof(why));
	close(dir);
	if (log >= 0)
		close(log);
	return log == -EBUSY;
}

/* The next VM of this uid in the listing, or NULL. */
static const char *next_of_uid(const struct run_dirs *dirs, DIR *list, uid_t uid)
{
	struct dirent *entry;
	char path[NAME_MAX + 8];
	struct stat st;

	while ((entry = readdir(list))) {
		snprintf(path, sizeof(path), "%s/uid", entry->d_name);
		if (entry->d_name[0] != '.' &&
		    fstatat(dirs->vms, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid == uid)
			return entry->d_name;
	}
	return NULL;
}

static DIR *list_vms(const struct run_dirs *dirs)
{
	int fd = openat(dirs->vms, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !list)
		close(fd);
	return list;
}

bool dirs_know_uid(const struct run_dirs *dirs, uid_t uid)
{
	DIR *list = list_vms(dirs);
	bool known = list && next_of_uid(dirs, list, uid);

	if (list)
		closedir(list);
	return known;
}

bool dirs_uid_is_taken(const struct run_dirs *dirs, uid_t uid, const char *id)
{
	DIR *list = list_vms(dirs);
	bool taken = !list; /* who cannot tell does not give it away */
	const char *other;

	while (list && !taken && (other = next_of_uid(dirs, list, uid)))
		taken = strcmp(other, id) && vm_lives(dirs, other);
	if (list)
		closedir(list);
	return taken;
}

/*
 * Removes a directory and the files in it. It may belong to someone hostile: names are taken
 * relative to it, symlinks are not followed, and directories in it are left (it stays then).
 */
static int remove_dir(int parent, const char *name, char *why, size_t why_size)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	unsigned int n = 0;
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return failed(why, why_size, "opening directory", name);
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		errno = ENOMEM;
		return failed(why, why_size, "reading directory", name);
	}
	while ((entry = readdir(dir)) && n++ < REMOVE_MAX) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(fd, entry->d_name, 0);
	}
	closedir(dir);
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
		return failed(why, why_size, "removing directory", name);
	return 0;
}

int dirs_release_vm(const struct run_dirs *dirs, const char *id, char *why, size_t why_size)
{
	int dir = openat(dirs->vms, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int log, ret;

	if (dir < 0)
		return failed(why, why_size, "VM", id);
	log = dirs_open_log(dir, why, why_size);
	close(dir);
	if (log < 0)
		return log;
	ret = remove_dir(dirs->vms, id, why, why_size);
	close(log);
	return ret;
}

int dirs_prepare_port(const struct run_dirs *dirs, const char *id, gid_t gid, char *why,
		      size_t why_size)
{
	int fd = make_one_of_many(dirs->ports, id, LAUNCH_SWITCH_UID, gid, 02750, why, why_size);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int dirs_open_port(const struct run_dirs *dirs, const char *id, gid_t gid)
{
	int fd = openat(dirs->ports, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (st.st_gid != gid)
		err = -EPERM;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int dirs_release_port(const struct run_dirs *dirs, const char *id, char *why, size_t why_size)
{
	return remove_dir(dirs->ports, id, why, why_size);
}

int dirs_open_log(int dir, char *why, size_t why_size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat st;
	int fd, err;

	fd = openat(dir, "log", O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return failed(why, why_size, "opening", "log");
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		err = errno == EAGAIN || errno == EACCES ? EBUSY : errno;
		snprintf(why, why_size, "%s", err == EBUSY ? "its process still lives" :
							     strerror(err));
		close(fd);
		return -err;
	}
	/* The directory's group: mgmt. */
	if (fstat(dir, &st) < 0 || fchown(fd, 0, st.st_gid) < 0 || fchmod(fd, 0640) < 0 ||
	    fstat(fd, &st) < 0 || (st.st_size > (off_t)LOG_KEEP && ftruncate(fd, 0) < 0)) {
		err = failed(why, why_size, "owning", "log");
		close(fd);
		return err;
	}
	return fd;
}

int dirs_create_file(const struct run_dirs *dirs, int dir, const char *name, char *why,
		     size_t why_size)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);

	if (fd < 0)
		return failed(why, why_size, "making", name);
	if (fchown(fd, 0, dirs->mgmt_uid) < 0 || fchmod(fd, 0640) < 0) {
		int err = failed(why, why_size, "owning", name);

		close(fd);
		return err;
	}
	return fd;
}

int dirs_listen(const struct run_dirs *dirs, int dir, const char *name, char *why,
		size_t why_size)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mode_t mask;
	int err;

	if (fd < 0)
		return failed(why, why_size, "socket for", name);
	/* By the descriptor: a run directory of any length fits sun_path. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir, name);
	unlinkat(dir, name, 0);
	mask = umask(0177);
	err = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	/* The directory is root's: what we chown is what we bound. */
	if (err < 0 ||
	    fchownat(dir, name, dirs->mgmt_uid, dirs->mgmt_uid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		err = failed(why, why_size, "binding", name);
		close(fd);
		return err;
	}
	return fd;
}
