#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/unix_socket.h"
#include "devemu/char_stream.h"

static int listen_at(const char *path)
{
	int fd = unix_socket_listen(path, 4);
	struct stat st;

	/* What an earlier run has left goes; never another kind of file. */
	if (fd != -EADDRINUSE || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return fd;
	unlink(path);
	return unix_socket_listen(path, 4);
}

static int open_pty(struct loop *loop, const char *id, struct char_backend **be)
{
	char name[64];
	int ret = char_pty_create(loop, name, sizeof(name), be);

	if (!ret)
		log_info("%s: the console is %s", id, name);
	return ret;
}

static int open_file(struct loop *loop, const struct config_file *file, struct char_backend **be)
{
	/* Should it be a FIFO, we wait neither for its reader nor for room in it. */
	int fd = config_file_open(file, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK);

	return fd < 0 ? fd : char_file_create(loop, fd, be);
}

static int open_socket(struct loop *loop, const struct config_file *file,
		       struct char_backend **be)
{
	int fd = file->path ? listen_at(file->path) : config_file_open(file, 0);

	return fd < 0 ? fd : char_socket_create(loop, fd, be);
}

int console_open(struct loop *loop, const struct vm_config *config, struct char_backend **be,
		 char *why, size_t why_size)
{
	const struct config_file *file = &config->console.file;
	int ret = -EINVAL;

	switch (config->console.type) {
	case CONSOLE_NULL:
		ret = char_null_create(be);
		break;
	case CONSOLE_STDIO:
		ret = char_stdio_create(loop, be);
		break;
	case CONSOLE_PTY:
		ret = open_pty(loop, config->id, be);
		break;
	case CONSOLE_FILE:
		ret = open_file(loop, file, be);
		break;
	case CONSOLE_SOCKET:
		ret = open_socket(loop, file, be);
		break;
	}
	if (ret < 0)
		snprintf(why, why_size, "console%s%s: cannot be opened: %s",
			 file->path ? ": " : "", file->path ? file->path : "", strerror(-ret));
	return ret;
}
