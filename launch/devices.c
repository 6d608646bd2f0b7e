#include "launch/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The rest of path below dir, or NULL. */
static const char *below(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	while (len && dir[len - 1] == '/')
		len--;
	if (strncmp(path, dir, len) || path[len] != '/')
		return NULL;
	path += len;
	while (*path == '/')
		path++;
	return *path ? path : NULL;
}

/* Neither .., nor an absolute symlink, nor /proc's magic links lead out of dir. */
static int open_beneath(const char *dir, const char *rest, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd, err;
	int parent = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (parent < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, parent, rest, &how, sizeof(how));
	err = errno;
	close(parent);
	return fd < 0 ? -err : fd;
}

static int check_kind(int fd, const char *path, enum image_use use, const char *field,
		      struct launch_error *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return launch_refuse(error, RPC_HOST_FAILURE, field, "%s: %s", path,
				     strerror(errno));
	if (S_ISREG(st.st_mode) || (use != IMAGE_BOOT && S_ISBLK(st.st_mode)))
		return 0;
	return launch_refuse(error, RPC_INVALID_PARAMS, field, "%s: not a regular file%s", path,
			     use == IMAGE_BOOT ? "" : " or block device");
}

int devices_lock_disk(int fd, const char *path, enum image_use use, const char *field,
		      struct launch_error *error)
{
	struct flock lock = {
		.l_type = use == IMAGE_WRITE ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
	};
	char same[32];
	int own, err;

	snprintf(same, sizeof(same), "/proc/self/fd/%d", fd);
	own = open(same, (use == IMAGE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (own >= 0 && fcntl(own, F_OFD_SETLK, &lock) == 0)
		return own;
	err = errno;
	if (own >= 0)
		close(own);
	if (err == EAGAIN || err == EACCES)
		return launch_refuse(error, RPC_REFUSED, field,
				     "%s: in use by another VM%s", path,
				     use == IMAGE_WRITE ? "" : ", which may write to it");
	return launch_refuse(error, RPC_HOST_FAILURE, field, "%s: locking: %s", path,
			     strerror(err));
}

int devices_open_image(const struct launch_options *options, const char *path, enum image_use use,
		       const char *field, struct launch_error *error)
{
	const char *rest = NULL;
	int fd = -ENOENT;
	int err;

	if (path[0] != '/')
		return launch_refuse(error, RPC_INVALID_PARAMS, field,
				     "%s: an absolute path is needed", path);
	for (unsigned int i = 0; !rest && i < options->image_dir_count; i++) {
		rest = below(options->image_dirs[i], path);
		if (rest)
			fd = open_beneath(options->image_dirs[i], rest,
					  use == IMAGE_WRITE ? O_RDWR : O_RDONLY);
	}
	if (!rest)
		return launch_refuse(error, RPC_INVALID_PARAMS, field,
				     "%s: not beneath a directory for images (vmm-launch "
				     "--image-dir)",
				     path);
	if (fd < 0)
		return launch_refuse(error, RPC_INVALID_PARAMS, field, "%s: %s", path,
				     fd == -ELOOP || fd == -EXDEV ?
					     "a symbolic link, or it leads out of the directory "
					     "for images" :
					     strerror(-fd));
	err = check_kind(fd, path, use, field, error);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int devices_open_kvm(struct launch_error *error)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	return launch_refuse(error, RPC_HOST_FAILURE, NULL,
			     "/dev/kvm: %s; guests need a processor with VT-x or AMD-V, switched "
			     "on, and the kvm_intel or kvm_amd module",
			     strerror(errno));
}
