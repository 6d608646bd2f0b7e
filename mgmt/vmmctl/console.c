#include "mgmt/vmmctl/console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "mgmt/vmmctl/rest.h"

#define ESCAPE 0x1d /* Ctrl-] */

static int console_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	fprintf(stderr, "vmmctl: cannot connect to %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* False: it is over. */
static bool copy(int from, int to, bool escapes)
{
	char data[4096], *escape = NULL;
	ssize_t n = read(from, data, sizeof(data));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (escapes)
		escape = memchr(data, ESCAPE, (size_t)n);
	if (escape)
		n = escape - data;
	return write_all(to, data, (size_t)n) && n > 0 && !escape;
}

static void console_run(int fd)
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && !copy(fd, STDOUT_FILENO, false))
			return;
		if (fds[1].revents && !copy(STDIN_FILENO, fd, isatty(STDIN_FILENO)))
			return;
	}
}

int console_attach(const char *path)
{
	struct termios saved, raw;
	bool is_terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0;
	int fd = console_connect(path);

	if (fd < 0)
		return STATUS_REFUSED;
	if (is_terminal) {
		fprintf(stderr, "vmmctl: connected; Ctrl-] ends it\n");
		raw = saved;
		cfmakeraw(&raw);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	console_run(fd);
	if (is_terminal) {
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
		fputc('\n', stderr);
	}
	close(fd);
	return STATUS_OK;
}
