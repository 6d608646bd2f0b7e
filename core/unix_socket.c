#include "core/unix_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A descriptor, and the address of path, or -errno. */
static int open_for(const char *path, struct sockaddr_un *addr)
{
	int fd;

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	strcpy(addr->sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int unix_socket_listen(const char *path, int backlog)
{
	struct sockaddr_un addr;
	int fd = open_for(path, &addr), err;

	if (fd < 0)
		return fd;
	/* bind() gives the file the socket's own mode: it is never open to others, not even
	 * for a moment. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		goto err_close;
	if (listen(fd, backlog) == 0)
		return fd;
	err = -errno;
	unlink(path);
	close(fd);
	return err;
err_close:
	err = -errno;
	close(fd);
	return err;
}

int unix_socket_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd = open_for(path, &addr), err;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}
