#include "vfio/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct host_roots host_roots_real = { "/sys", "/proc", "/dev", "/lib/modules", NULL };

/* `path` has SYSFS_PATH_SIZE bytes. */
#define FORMAT_PATH(path, fmt)                                          \
	({                                                              \
		va_list ap_;                                            \
		int len_;                                               \
		va_start(ap_, fmt);                                     \
		len_ = vsnprintf((path), SYSFS_PATH_SIZE, (fmt), ap_);  \
		va_end(ap_);                                            \
		len_ < 0 || len_ >= (int)SYSFS_PATH_SIZE ? -ENAMETOOLONG : 0; \
	})

void sysfs_clean(char *text)
{
	for (; *text; text++) {
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
	}
}

/* Never waits, whatever kind of file it is. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	ssize_t len;

	if (fd < 0)
		return -errno;
	do
		len = read(fd, text, size);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		len = -errno;
	close(fd);
	return len;
}

int sysfs_read_text(char *text, size_t size, const char *fmt, ...)
{
	char path[SYSFS_PATH_SIZE];
	ssize_t len = FORMAT_PATH(path, fmt);

	text[0] = '\0';
	if (!len)
		len = read_file(path, text, size - 1);
	if (len < 0)
		return (int)len;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	sysfs_clean(text);
	return 0;
}

int sysfs_read_number(int64_t *number, const char *fmt, ...)
{
	char path[SYSFS_PATH_SIZE], text[32], *end;
	int err = FORMAT_PATH(path, fmt);
	long long value;

	if (!err)
		err = sysfs_read_text(text, sizeof(text), "%s", path);
	if (err)
		return err;
	errno = 0;
	value = strtoll(text, &end, 0);
	if (errno || end == text || *end)
		return -EINVAL;
	*number = value;
	return 0;
}

int sysfs_read_link(char *name, size_t size, const char *fmt, ...)
{
	char path[SYSFS_PATH_SIZE], target[SYSFS_PATH_SIZE];
	int err = FORMAT_PATH(path, fmt);
	const char *last;
	ssize_t len;

	name[0] = '\0';
	if (err)
		return err;
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) >= size)
		return -ENAMETOOLONG;
	strcpy(name, last);
	sysfs_clean(name);
	return 0;
}

int sysfs_resolve(char *path, const char *fmt, ...)
{
	char asked[SYSFS_PATH_SIZE];
	int err = FORMAT_PATH(asked, fmt);
	char *real;

	if (err)
		return err;
	real = realpath(asked, NULL);
	if (!real)
		return -errno;
	if (strlen(real) < SYSFS_PATH_SIZE)
		strcpy(path, real);
	else
		err = -ENAMETOOLONG;
	free(real);
	return err;
}

bool sysfs_exists(const char *fmt, ...)
{
	char path[SYSFS_PATH_SIZE];

	return !FORMAT_PATH(path, fmt) && !access(path, F_OK);
}

int sysfs_list(sysfs_entry_fn fn, void *opaque, const char *fmt, ...)
{
	char path[SYSFS_PATH_SIZE];
	int err = FORMAT_PATH(path, fmt);
	struct dirent *entry;
	unsigned int n = 0;
	DIR *dir;

	if (err)
		return err;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (n < SYSFS_MAX_ENTRIES && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		n++;
		if (!fn(opaque, entry->d_name))
			break;
	}
	closedir(dir);
	return 0;
}
