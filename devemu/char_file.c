/* Output to a file, and to nowhere. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "devemu/char_engine.h"

static size_t null_write(struct char_backend *be, const uint8_t *buf, size_t len)
{
	return len;
}

static void null_accept(struct char_backend *be)
{
}

static void null_destroy(struct char_backend *be)
{
	free(be);
}

int char_null_create(struct char_backend **be)
{
	static const struct char_backend_ops ops = {
		.write = null_write,
		.accept = null_accept,
		.destroy = null_destroy,
	};
	struct char_backend *null = calloc(1, sizeof(*null));

	if (!null)
		return -ENOMEM;
	null->ops = &ops;
	*be = null;
	return 0;
}

static void file_fini(struct char_engine *e)
{
	char_engine_fini(e);
	free(e);
}

int char_file_create(struct loop *loop, int fd, struct char_backend **be)
{
	struct char_engine *e = calloc(1, sizeof(*e));
	int err = e ? char_engine_init(e, loop) : -ENOMEM;

	if (err) {
		free(e);
		close(fd);
		return err;
	}
	e->fini = file_fini;
	if (lseek(fd, 0, SEEK_END) < 0)
		errno = 0; /* a pipe or a terminal has no end to append to */
	char_engine_attach(e, -1, fd, 0);
	*be = &e->be;
	return 0;
}
