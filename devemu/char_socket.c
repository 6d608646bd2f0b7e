/* A Unix stream socket with one client at a time: the newest. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devemu/char_engine.h"

struct char_socket {
	struct char_engine engine;
	int listen_fd;
	struct loop_io *listen_io;
};

static void socket_lost(struct char_engine *e)
{
	char_engine_detach(e);
}

static void on_client(void *opaque, int fd, unsigned int events)
{
	struct char_socket *s = opaque;
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	/* Gone again, or no descriptors left: the next event tries again. */
	if (client >= 0)
		char_engine_attach(&s->engine, client, client, CHAR_REPLAY_SIZE);
}

static void socket_fini(struct char_engine *e)
{
	struct char_socket *s = container_of(e, struct char_socket, engine);

	loop_io_remove(s->listen_io);
	close(s->listen_fd);
	char_engine_fini(e);
	free(s);
}

int char_socket_create(struct loop *loop, int listen_fd, struct char_backend **be)
{
	struct char_socket *s = calloc(1, sizeof(*s));
	int flags, err = s ? char_engine_init(&s->engine, loop) : -ENOMEM;

	if (err) {
		free(s);
		close(listen_fd);
		return err;
	}
	s->listen_fd = listen_fd;
	s->engine.detached = socket_lost;
	s->engine.fini = socket_fini;
	flags = fcntl(listen_fd, F_GETFL);
	if (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		err = -errno;
		goto err_fini;
	}
	s->listen_io = loop_io_add(loop, listen_fd, LOOP_READ, on_client, s);
	if (!s->listen_io) {
		err = -ENOMEM;
		goto err_fini;
	}
	*be = &s->engine.be;
	return 0;
err_fini:
	socket_fini(&s->engine);
	return err;
}
