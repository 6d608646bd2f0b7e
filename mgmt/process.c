#include "mgmt/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct process_watch {
	struct loop_io *io;
	int fd;
	loop_fn fn;
	void *opaque;
};

static int read_small_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	return 0;
}

int process_boot_id(char boot_id[BOOT_ID_SIZE])
{
	int err = read_small_file("/proc/sys/kernel/random/boot_id", boot_id, BOOT_ID_SIZE);

	if (!err)
		boot_id[strcspn(boot_id, "\n")] = '\0';
	return err;
}

static int read_stat(pid_t pid, char *state, uint64_t *start_time)
{
	unsigned long long ticks;
	char path[48], text[1024];
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || read_small_file(path, text, sizeof(text)) < 0)
		return -ESRCH;
	/* proc(5): the second field is the program's name, which may hold anything, ")" too. */
	rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d"
				      " %*d %*d %*d %*d %*d %llu", state, &ticks) != 2)
		return -ESRCH;
	*start_time = ticks;
	return 0;
}

int process_start_time(pid_t pid, uint64_t *start_time)
{
	char state;
	int err = read_stat(pid, &state, start_time);

	return err || state == 'Z' || state == 'X' ? -ESRCH : 0;
}

bool process_has_uid(pid_t pid, uid_t uid)
{
	char path[48], text[2048];
	const char *line;
	unsigned int found;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (pid <= 0 || read_small_file(path, text, sizeof(text)) < 0)
		return false;
	line = strstr(text, "\nUid:");
	return line && sscanf(line + 5, "%u", &found) == 1 && found == uid;
}

static void watch_on_end(void *opaque, int fd, unsigned int events)
{
	struct process_watch *watch = opaque;

	loop_io_remove(watch->io);
	watch->io = NULL;
	watch->fn(watch->opaque);
}

/*
 * The state "zombie" does not tell: a process whose first thread has ended is one, while others may
 * still be at work and hold its files.
 */
static bool pidfd_has_ended(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

int process_watch_create(struct loop *loop, pid_t pid, uint64_t start_time, loop_fn fn,
			 void *opaque, struct process_watch **out)
{
	struct process_watch *watch;
	uint64_t found;
	char state;
	int fd, err = -ENOMEM;

	if (pid <= 0)
		return -ESRCH;
	/* First hold on to the process, then look who it is: it cannot change in between. */
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	if (read_stat(pid, &state, &found) < 0 || found != start_time || pidfd_has_ended(fd)) {
		close(fd);
		return -ESRCH;
	}
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		goto err_close;
	*watch = (struct process_watch){ .fd = fd, .fn = fn, .opaque = opaque };
	watch->io = loop_io_add(loop, fd, LOOP_READ, watch_on_end, watch);
	if (!watch->io)
		goto err_free;
	*out = watch;
	return 0;

err_free:
	free(watch);
err_close:
	close(fd);
	return err;
}

void process_watch_destroy(struct process_watch *watch)
{
	if (!watch)
		return;
	loop_io_remove(watch->io);
	close(watch->fd);
	free(watch);
}
