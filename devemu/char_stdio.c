/* The terminal, or the pipes, that the program was started on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "devemu/char_engine.h"

#define ESCAPE 0x1d /* Ctrl-]: interrupts the program; all other keys are the guest's */

struct char_stdio {
	struct char_engine engine;
	bool is_tty;
	struct termios saved;
	int in_flags, out_flags; /* to be restored; -1: not changed */
};

/*
 * A non-blocking descriptor for 0 or 1. The open file may be shared with the shell we came from,
 * so it is opened anew where that is possible, else its flags are changed until destroy.
 */
static int open_again(int fd, int mode, int *flags)
{
	char path[32];
	struct stat st;
	int copy;

	*flags = -1;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* Opened anew, a regular file would be written from its start. */
	if (S_ISREG(st.st_mode)) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return copy < 0 ? -errno : copy;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (copy >= 0)
		return copy;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return -errno;
	*flags = fcntl(copy, F_GETFL);
	if (*flags < 0 || fcntl(copy, F_SETFL, *flags | O_NONBLOCK) < 0) {
		close(copy);
		return -EIO;
	}
	return copy;
}

static void make_raw(struct char_stdio *s)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &s->saved) < 0)
		return;
	raw = s->saved;
	cfmakeraw(&raw);
	raw.c_lflag |= ISIG;
	raw.c_cc[VINTR] = ESCAPE;
	raw.c_cc[VQUIT] = raw.c_cc[VSUSP] = _POSIX_VDISABLE;
	s->is_tty = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void restore_flags(int fd, int flags)
{
	if (flags >= 0 && fcntl(fd, F_SETFL, flags) < 0)
		return; /* it was closed under us: nothing to restore */
}

static void stdio_fini(struct char_engine *e)
{
	struct char_stdio *s = container_of(e, struct char_stdio, engine);

	if (s->is_tty)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
	restore_flags(STDIN_FILENO, s->in_flags);
	restore_flags(STDOUT_FILENO, s->out_flags);
	char_engine_fini(e);
	free(s);
}

int char_stdio_create(struct loop *loop, struct char_backend **be)
{
	struct char_stdio *s = calloc(1, sizeof(*s));
	int err = s ? char_engine_init(&s->engine, loop) : -ENOMEM;
	int in, out;

	if (err) {
		free(s);
		return err;
	}
	s->engine.fini = stdio_fini;
	in = open_again(STDIN_FILENO, O_RDONLY, &s->in_flags); /* none: no input */
	out = open_again(STDOUT_FILENO, O_WRONLY, &s->out_flags);
	if (out < 0) {
		if (in >= 0)
			close(in);
		stdio_fini(&s->engine);
		return out;
	}
	make_raw(s);
	char_engine_attach(&s->engine, MAX(in, -1), out, 0);
	*be = &s->engine.be;
	return 0;
}
