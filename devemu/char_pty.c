/* A pseudo-terminal that any terminal program can be pointed at. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "devemu/char_engine.h"

struct char_pty {
	struct char_engine engine;
	int slave; /* held open, so that the master has no end of file while nobody looks */
};

static void pty_fini(struct char_engine *e)
{
	struct char_pty *pty = container_of(e, struct char_pty, engine);

	char_engine_fini(e);
	if (pty->slave >= 0)
		close(pty->slave);
	free(pty);
}

/* Opens the pair; echo must be off before the first byte, or the guest would hear itself. */
static int open_pair(struct char_pty *pty, char *name, size_t name_size)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct termios raw;
	int err;

	if (master < 0)
		return -errno;
	if (grantpt(master) < 0 || unlockpt(master) < 0)
		goto err_errno;
	err = ptsname_r(master, name, name_size);
	if (err) {
		err = -err;
		goto err_master;
	}
	pty->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->slave < 0 || tcgetattr(pty->slave, &raw) < 0)
		goto err_errno;
	cfmakeraw(&raw);
	if (tcsetattr(pty->slave, TCSANOW, &raw) < 0)
		goto err_errno;
	return master;
err_errno:
	err = -errno;
err_master:
	close(master);
	return err;
}

int char_pty_create(struct loop *loop, char *name, size_t name_size, struct char_backend **be)
{
	struct char_pty *pty = calloc(1, sizeof(*pty));
	int err = pty ? char_engine_init(&pty->engine, loop) : -ENOMEM;

	if (err) {
		free(pty);
		return err;
	}
	pty->slave = -1;
	pty->engine.fini = pty_fini;
	err = open_pair(pty, name, name_size);
	if (err < 0) {
		pty_fini(&pty->engine);
		return err;
	}
	char_engine_attach(&pty->engine, err, err, 0);
	*be = &pty->engine.be;
	return 0;
}
