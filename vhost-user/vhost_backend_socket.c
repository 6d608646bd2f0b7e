/*
 * The beginning and end of a back end, and what comes to it from outside the session: a peer on its
 * socket, the time to seek one, memory that is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/vhost_backend_internal.h"

static int unix_address(const char *path, struct sockaddr_un *sun)
{
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(sun->sun_path))
		return -ENAMETOOLONG;
	strcpy(sun->sun_path, path);
	return 0;
}

/* 0 with *fd, or -errno. A Unix socket connects at once or not at all. */
static int unix_connect(const char *path, int *fd)
{
	struct sockaddr_un sun;
	int err = unix_address(path, &sun);

	if (err)
		return err;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return -errno;
	if (connect(*fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		err = -errno;
		close(*fd);
		return err;
	}
	return 0;
}

/* Removes a socket nobody listens on. -EADDRINUSE: somebody does; -EEXIST: not a socket. */
static int remove_stale(const char *path)
{
	struct stat st;
	int fd;
	int err;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	err = unix_connect(path, &fd);
	if (err == 0)
		close(fd);
	if (err == 0 || err == -EAGAIN)
		return -EADDRINUSE;
	if (err != -ECONNREFUSED)
		return err;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int unix_listen(const char *path, mode_t mode, int *fd)
{
	struct sockaddr_un sun;
	int err = unix_address(path, &sun);

	if (!err)
		err = remove_stale(path);
	if (err)
		return err;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return -errno;
	if (bind(*fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		err = -errno;
		goto err_close;
	}
	/* Before listen: nobody connects under the umask's permissions. */
	if (chmod(path, mode) < 0 || listen(*fd, 8) < 0) {
		err = -errno;
		goto err_unlink;
	}
	return 0;

err_unlink:
	unlink(path);
err_close:
	close(*fd);
	*fd = -1;
	return err;
}

static void on_listen(void *opaque, int listen_fd, unsigned int events)
{
	struct vhost_backend *be = opaque;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
		return;
	backend_enter(be);
	/* One peer at a time: the next one waits in the socket's queue. */
	if (loop_io_set_events(be->listen_io, 0) < 0)
		log_err("vhost-user %s: out of memory", backend_name(be));
	if (fd < 0 || backend_session_open(be, fd) < 0) {
		if (fd >= 0)
			close(fd);
		log_warn("vhost-user %s: cannot take a connection, out of descriptors or memory: "
			 "trying again", backend_name(be));
		if (loop_timer_arm(be->retry, BACKEND_RETRY_MAX) < 0)
			log_err("vhost-user %s: out of memory", backend_name(be));
	}
	backend_leave(be);
}

static void on_retry(void *opaque)
{
	struct vhost_backend *be = opaque;
	int fd = -1;
	int err;

	if (be->session != SESSION_NONE)
		return;
	backend_enter(be);
	err = be->role == VHOST_BACKEND_SERVER ? -EAGAIN : unix_connect(be->path, &fd);
	if (!err) {
		err = backend_session_open(be, fd);
		if (err)
			close(fd);
	}
	if (err)
		backend_await_peer(be);
	backend_leave(be);
}

/* The SIGBUS handler has run: the peer took memory away that it had shared. */
static void on_memory_fault(void *opaque, int fd, unsigned int events)
{
	struct vhost_backend *be = opaque;
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	(void)n;
	backend_enter(be);
	if (peer_memory_fault(&be->memory) && be->session == SESSION_OPEN) {
		log_guest("vhost-user %s: %s", backend_name(be),
			  vhost_fault_name(VHOST_FAULT_MEM_GONE));
		backend_session_end(be, VHOST_FAULT_MEM_GONE);
	}
	backend_leave(be);
}

static void stop_waiting_for_peer(struct vhost_backend *be)
{
	loop_io_remove(be->listen_io);
	be->listen_io = NULL;
	if (be->listen_fd >= 0) {
		unlink(be->path);
		close(be->listen_fd);
		be->listen_fd = -1;
	}
	loop_timer_destroy(be->retry);
	be->retry = NULL;
}

static int backend_open(struct vhost_backend *be, const struct vhost_backend_config *config)
{
	int err;

	be->memory_io = loop_io_add(be->loop, be->memory.fault_fd, LOOP_READ, on_memory_fault, be);
	peer_fds_init(&be->fds, be->loop, backend_fds_closed, be);
	be->stall = loop_timer_create(be->loop, backend_session_stalled, be);
	if (!be->memory_io || !be->stall)
		return -ENOMEM;
	if (!config->path) {
		if (fcntl(config->fd, F_SETFL, O_NONBLOCK) < 0)
			return -errno;
		return backend_session_open(be, config->fd);
	}
	be->retry = loop_timer_create(be->loop, on_retry, be);
	if (!be->retry)
		return -ENOMEM;
	if (config->role == VHOST_BACKEND_CLIENT)
		return loop_timer_arm(be->retry, 0);
	err = unix_listen(be->path, config->mode, &be->listen_fd);
	if (err)
		return err;
	be->listen_io = loop_io_add(be->loop, be->listen_fd, LOOP_READ, on_listen, be);
	return be->listen_io ? 0 : -ENOMEM;
}

int vhost_backend_create(const struct vhost_backend_config *config, struct vhost_backend **out)
{
	struct vhost_backend *be;
	int err;

	if (!config->rings || config->rings > VHOST_BACKEND_MAX_RINGS)
		return -EINVAL;
	err = backend_new(config, &be);
	*out = be;
	if (err)
		return err;
	err = backend_open(be, config);
	if (err) {
		stop_waiting_for_peer(be);
		backend_free(be);
		*out = NULL;
	}
	return err;
}

void vhost_backend_destroy(struct vhost_backend *be, void (*done)(void *opaque), void *opaque)
{
	backend_enter(be);
	be->destroying = true;
	be->done = done;
	be->done_opaque = opaque;
	stop_waiting_for_peer(be);
	backend_session_end(be, VHOST_FAULT_HANGUP);
	backend_leave(be);
}
