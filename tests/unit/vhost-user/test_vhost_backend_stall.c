/* A peer that makes its back end wait, by silence or by what it sends: only its own port does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend_env.h"

struct fixture {
	struct env env;
	char dir[32];
	char path[64];
	struct owner *owner;	 /* at path */
	struct owner *neighbour; /* on the same loop */
	int neighbour_fd;
	int reader; /* keeps the other end of lingering() */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vhost_backend_config config = { .role = VHOST_BACKEND_SERVER, .mode = 0660 };

	assert_non_null(f);
	env_init(&f->env);
	strcpy(f->dir, "/tmp/vhost-backend-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	config.path = f->path;
	f->owner = owner_create(&f->env, &config, NULL);
	config.path = NULL;
	f->neighbour = owner_create(&f->env, &config, &f->neighbour_fd);
	f->reader = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	owner_destroy(&f->env, f->owner);
	owner_destroy(&f->env, f->neighbour);
	env_fini(&f->env);
	close(f->neighbour_fd);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static int connect_to(struct fixture *f)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, f->path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* A TCP socket whose last close waits, minutes if need be, until f->reader is closed. */
static int lingering(struct fixture *f)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 600 };
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sin);
	char bytes[65536] = {0};

	assert_true(server >= 0 && fd >= 0);
	assert_int_equal(bind(server, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(server, 1), 0);
	assert_int_equal(getsockname(server, (struct sockaddr *)&sin, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	f->reader = accept(server, NULL, NULL);
	assert_true(f->reader >= 0);
	close(server);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return fd;
}

struct kick {
	int fd;
	unsigned int count;
	int last;
};

/* On the loop's thread, so that our copy is closed before the back end has its own: the last close
 * is the one that waits. */
static void send_kick_now(void *opaque)
{
	const struct kick *kick = opaque;
	int fd = kick->fd;
	unsigned int count = kick->count;
	struct vhost_msg msg;
	uint8_t bytes[VHOST_MSG_HEADER + 8] = {0};
	struct iovec iov = { bytes, sizeof(bytes) };
	char control[CMSG_SPACE(32 * sizeof(int))] = {0};
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	int fds[32];

	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_KICK);
	msg.size = 8;
	memcpy(bytes, &msg, VHOST_MSG_HEADER);
	for (unsigned int i = 0; i < count; i++)
		fds[i] = i + 1 < count ? STDERR_FILENO : kick->last;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	if (sendmsg(fd, &mh, MSG_NOSIGNAL) < 0)
		perror("sendmsg");
	close(kick->last);
}

/* One kick message with so many descriptors; the last is `last`, which is ours no more. */
static void send_kick(struct fixture *f, int fd, unsigned int count, int last)
{
	struct kick kick = { fd, count, last };

	assert_int_equal(loop_call(f->env.loop, send_kick_now, &kick), 0);
}

/* The peer on fd has sent a lingering socket: its port is taken until that is closed, no other is. */
static void assert_waits_alone(struct fixture *f, int fd, unsigned int gones)
{
	uint64_t end;
	int next;

	assert_true(peer_closed(fd));
	close(fd);
	owner_wait(f->owner, f->owner->gones == gones);
	assert_int_equal(peer_ask_u64(f->neighbour_fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	next = connect_to(f);
	peer_send_u64(next, VHOST_MSG_SET_PROTOCOL_FEATURES, 0);
	assert_true(peer_hears_nothing(next));
	assert_int_equal(f->owner->connects, gones);
	close(f->reader);
	end = peer_ask_u64(next, VHOST_MSG_GET_QUEUE_NUM);
	assert_int_equal(end, ENV_RINGS / 2);
	close(next);
}

static void a_descriptor_that_lingers(void **state)
{
	struct fixture *f = *state;
	int fd = connect_to(f), bad = lingering(f);

	send_kick(f, fd, 1, bad);
	assert_waits_alone(f, fd, 1);
	assert_int_equal(vhost_backend_fault_count(f->owner->be, VHOST_FAULT_RING_KICK), 1);
}

/* More than any message takes: the kernel must not have to close them for us either. */
static void the_last_of_many(void **state)
{
	struct fixture *f = *state;
	int fd = connect_to(f), bad = lingering(f);

	send_kick(f, fd, 20, bad);
	assert_waits_alone(f, fd, 1);
	assert_int_equal(vhost_backend_fault_count(f->owner->be, VHOST_FAULT_MSG_FDS), 1);
}

/* It waits behind a message that ends the session, and goes with the socket. */
static void one_that_was_never_read(void **state)
{
	struct fixture *f = *state;
	int first = connect_to(f), fd, bad = lingering(f);

	assert_int_equal(peer_ask_u64(first, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	fd = connect_to(f);
	peer_send_u64(fd, VHOST_MSG_SET_OWNER, 0);
	send_kick(f, fd, 1, bad);
	close(first);
	assert_waits_alone(f, fd, 2);
	assert_int_equal(vhost_backend_fault_count(f->owner->be, VHOST_FAULT_MSG_SIZE), 1);
}

/* What is still being closed when the back end goes is closed without it. */
static void the_port_can_be_removed_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct vhost_backend_config config = { .role = VHOST_BACKEND_SERVER, .mode = 0660,
		.path = f->path };
	int fd = connect_to(f), bad = lingering(f);
	char byte;

	send_kick(f, fd, 1, bad);
	assert_true(peer_closed(fd));
	close(fd);
	owner_wait(f->owner, f->owner->gones == 1);
	owner_destroy(&f->env, f->owner);
	f->owner = owner_create(&f->env, &config, NULL);
	fd = connect_to(f);
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	close(fd);
	/* Closed at last: whatever was not sent is followed by the end. */
	while (recv(f->reader, &byte, 1, MSG_TRUNC) > 0)
		;
	close(f->reader);
}

/* The start of a message, with the peer's own end of the socket in it: closing it shows nowhere. */
static int half_a_message(struct fixture *f)
{
	int fd = connect_to(f);
	struct vhost_msg msg;
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = { &msg, 5 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_KICK);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	assert_int_equal(sendmsg(fd, &mh, 0), 5);
	return fd;
}

static void silence_ends(void **state)
{
	struct fixture *f = *state;
	uint8_t header[VHOST_MSG_HEADER] = { VHOST_MSG_GET_FEATURES, 0, 0, 0, VHOST_MSG_VERSION };
	int fd = half_a_message(f);

	close(fd);
	/* Meanwhile, and for as long: a peer that asks and asks and does not listen. */
	while (send(f->neighbour_fd, header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
	       errno == EAGAIN)
		usleep(50);
	owner_wait(f->owner, f->owner->gones == 1);
	assert_int_equal(vhost_backend_fault_count(f->owner->be, VHOST_FAULT_MSG_TIMEOUT), 1);
	owner_wait(f->neighbour, f->neighbour->gones == 1);
	assert_int_equal(vhost_backend_fault_count(f->neighbour->be, VHOST_FAULT_MSG_UNREAD), 1);
	fd = connect_to(f);
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	close(fd);
}

static unsigned int mappings(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned int n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, name) != NULL;
	fclose(maps);
	return n;
}

/* Unmapping it may free it, which takes time: the session goes on, or the next begins, after that. */
static void large_memory_is_let_go_aside(void **state)
{
	struct fixture *f = *state;
	int memory = memfd_create("large", MFD_CLOEXEC | MFD_ALLOW_SEALING), fd = connect_to(f);
	struct vhost_msg msg;

	assert_int_equal(ftruncate(memory, 2 * PEER_MEMORY_LARGE), 0);
	assert_int_equal(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	memory_message(&msg, memory);
	msg.memory.regions[0].size = 2 * PEER_MEMORY_LARGE;
	for (unsigned int i = 0; i < 50; i++)
		peer_send(fd, &msg);
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	assert_int_equal(mappings("memfd:large"), 1);
	peer_send(fd, &msg);
	close(fd);
	fd = connect_to(f);
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
	assert_int_equal(mappings("memfd:large"), 0);
	close(fd);
	close(memory);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_descriptor_that_lingers),
		T(the_last_of_many),
		T(one_that_was_never_read),
		T(the_port_can_be_removed_meanwhile),
		T(large_memory_is_let_go_aside),
		T(silence_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
