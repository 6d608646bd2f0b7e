#include "vhost-user/vhost_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/vhost_backend_internal.h"

#define NS_PER_MS 1000000ull
#define RETRY_MIN (5 * NS_PER_MS)
#define RETRY_MAX (1000 * NS_PER_MS)

static const char *name_of(const struct vhost_backend *be)
{
	return be->path ? be->path : "peer";
}

static void wait_for_peer(struct vhost_backend *be)
{
	if (be->listen_io && loop_io_set_events(be->listen_io, LOOP_READ) == 0)
		return;
	if (!be->retry)
		return;
	be->retry_delay = be->retry_delay ? MIN(be->retry_delay * 2, RETRY_MAX) : RETRY_MIN;
	if (loop_timer_arm(be->retry, be->retry_delay) < 0)
		log_err("vhost-user %s: no timer to reconnect with: out of memory", name_of(be));
}

/* Frees what create made, whatever it got to. */
static void backend_free(struct vhost_backend *be)
{
	loop_io_remove(be->memory_io);
	peer_memory_fini(&be->memory);
	if (be->null_fd >= 0)
		close(be->null_fd);
	free(be->rings);
	free(be->path);
	free(be);
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

static void session_close(struct vhost_backend *be)
{
	bool was_up = be->link;

	be->session = SESSION_NONE;
	be->link = false;
	backend_session_reset(be);
	be->faults[be->reason]++;
	if (be->destroying)
		return;
	wait_for_peer(be);
	if (was_up && be->ops->link)
		be->ops->link(be->opaque, false);
	if (be->ops->gone && !be->destroying)
		be->ops->gone(be->opaque, be->reason);
}

void backend_session_end(struct vhost_backend *be, enum vhost_fault reason)
{
	if (be->session != SESSION_OPEN)
		return;
	be->session = SESSION_ENDING;
	be->reason = reason;
	loop_io_remove(be->io);
	be->io = NULL;
	close(be->fd);
	be->fd = -1;
	backend_rings_quiesce(be, be->ring_count);
}

void backend_enter(struct vhost_backend *be)
{
	be->depth++;
}

void backend_leave(struct vhost_backend *be)
{
	if (be->depth == 1) {
		if (be->session == SESSION_OPEN)
			backend_session_continue(be);
		if (be->session == SESSION_ENDING && !be->busy)
			session_close(be);
		if (be->session == SESSION_NONE && be->destroying)
			be->dead = true;
	}
	be->depth--;
	if (be->depth == 0 && be->dead) {
		void (*done)(void *opaque) = be->done;
		void *opaque = be->done_opaque;

		backend_free(be);
		if (done)
			done(opaque);
	}
}

/* With an error fd stays the caller's. */
static int session_open(struct vhost_backend *be, int fd)
{
	be->io = loop_io_add(be->loop, fd, LOOP_READ, backend_session_io, be);
	if (!be->io)
		return -ENOMEM;
	be->fd = fd;
	vhost_stream_init(&be->stream, VHOST_REQUEST);
	vhost_outbox_init(&be->outbox);
	be->session = SESSION_OPEN;
	if (be->ops->connected)
		be->ops->connected(be->opaque);
	return 0;
}

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
		log_err("vhost-user %s: out of memory", name_of(be));
	if (fd < 0 || session_open(be, fd) < 0) {
		if (fd >= 0)
			close(fd);
		log_warn("vhost-user %s: cannot take a connection, out of descriptors or memory: "
			 "trying again", name_of(be));
		if (loop_timer_arm(be->retry, RETRY_MAX) < 0)
			log_err("vhost-user %s: out of memory", name_of(be));
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
		err = session_open(be, fd);
		if (err)
			close(fd);
	}
	if (err)
		wait_for_peer(be);
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
		log_guest("vhost-user %s: %s", name_of(be), vhost_fault_name(VHOST_FAULT_MEM_GONE));
		backend_session_end(be, VHOST_FAULT_MEM_GONE);
	}
	backend_leave(be);
}

static void offer_features(struct vhost_backend *be, uint64_t device)
{
	be->offered = device | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
		      1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VHOST_F_PROTOCOL_FEATURES;
	be->offered_protocol = 1ull << VHOST_PROTO_MQ | 1ull << VHOST_PROTO_REPLY_ACK |
			       1ull << VHOST_PROTO_RESET_DEVICE |
			       1ull << VHOST_PROTO_CONFIGURE_MEM_SLOTS | 1ull << VHOST_PROTO_STATUS;
	if (be->ops->rarp)
		be->offered_protocol |= 1ull << VHOST_PROTO_RARP;
	if (be->ops->set_mtu)
		be->offered_protocol |= 1ull << VHOST_PROTO_NET_MTU;
	if (be->ops->get_config)
		be->offered_protocol |= 1ull << VHOST_PROTO_CONFIG;
}

/* What create makes besides the socket. */
static int backend_init(struct vhost_backend *be, const struct vhost_backend_config *config)
{
	int err;

	be->loop = config->loop;
	be->role = config->role;
	be->ops = config->ops;
	be->opaque = config->opaque;
	be->listen_fd = -1;
	be->fd = -1;
	offer_features(be, config->features);
	be->ring_count = config->rings;
	for (unsigned int i = 0; i < config->rings; i++) {
		be->rings[i].pub.kick_fd = -1;
		be->rings[i].pub.call_fd = -1;
	}
	if (config->path) {
		be->path = strdup(config->path);
		if (!be->path)
			return -ENOMEM;
	}
	be->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (be->null_fd < 0)
		return -errno;
	err = peer_memory_install_handler();
	if (err)
		return err;
	be->memory_io = loop_io_add(be->loop, be->memory.fault_fd, LOOP_READ, on_memory_fault, be);
	return be->memory_io ? 0 : -ENOMEM;
}

static int backend_open(struct vhost_backend *be, const struct vhost_backend_config *config)
{
	int err;

	if (!config->path) {
		if (fcntl(config->fd, F_SETFL, O_NONBLOCK) < 0)
			return -errno;
		return session_open(be, config->fd);
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
	be = calloc(1, sizeof(*be));
	if (!be)
		return -ENOMEM;
	be->null_fd = -1;
	err = peer_memory_init(&be->memory, config->allow_unsealed);
	if (err) {
		free(be);
		return err;
	}
	be->rings = calloc(config->rings, sizeof(*be->rings));
	err = be->rings ? backend_init(be, config) : -ENOMEM;
	if (!err) {
		*out = be;
		err = backend_open(be, config);
	}
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

void vhost_backend_break(struct vhost_backend *be, enum vhost_fault reason)
{
	backend_enter(be);
	backend_session_end(be, reason);
	backend_leave(be);
}

bool vhost_backend_connected(const struct vhost_backend *be)
{
	return be->session == SESSION_OPEN;
}

uint64_t vhost_backend_features(const struct vhost_backend *be)
{
	return be->features;
}

uint64_t vhost_backend_protocol_features(const struct vhost_backend *be)
{
	return be->protocol;
}

uint64_t vhost_backend_fault_count(const struct vhost_backend *be, enum vhost_fault reason)
{
	return be->faults[reason];
}
