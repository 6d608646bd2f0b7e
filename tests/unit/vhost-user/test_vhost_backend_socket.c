/* A back end's socket: serving and connecting, again and again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend_env.h"

struct fixture {
	struct env env;
	char dir[32];
	char path[64];
	struct vhost_backend_config config;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	env_init(&f->env);
	strcpy(f->dir, "/tmp/vhost-backend-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	f->config = (struct vhost_backend_config){
		.role = VHOST_BACKEND_SERVER, .path = f->path, .mode = 0660,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	env_fini(&f->env);
	unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static struct sockaddr_un address(struct fixture *f)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	strcpy(sun.sun_path, f->path);
	return sun;
}

static int connect_to(struct fixture *f)
{
	struct sockaddr_un sun = address(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static int listen_at(struct fixture *f)
{
	struct sockaddr_un sun = address(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void assert_serves(int fd)
{
	assert_int_equal(peer_ask_u64(fd, VHOST_MSG_GET_QUEUE_NUM), ENV_RINGS / 2);
}

static void it_serves_one_peer_after_another(void **state)
{
	struct fixture *f = *state;
	struct owner *owner = owner_create(&f->env, &f->config, NULL);
	struct stat st;
	int first, second;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	first = connect_to(f);
	assert_serves(first);
	second = connect_to(f);
	peer_send_u64(second, VHOST_MSG_SET_PROTOCOL_FEATURES, 0);
	assert_true(peer_hears_nothing(second));
	close(first);
	assert_serves(second);
	assert_int_equal(owner->gones, 1);
	assert_int_equal(owner->connects, 2);
	owner_destroy(&f->env, owner);
	assert_true(peer_closed(second));
	close(second);
	assert_int_equal(access(f->path, F_OK), -1);
}

static void nothing_is_left_of_the_former_peer(void **state)
{
	struct fixture *f = *state;
	struct owner *owner = owner_create(&f->env, &f->config, NULL);
	struct vhost_msg msg;
	struct peer peer;

	for (unsigned int i = 1; i <= 3; i++) {
		peer_init(&peer, connect_to(f), memory_create(F_SEAL_SHRINK));
		/* A kick alone: without this session's memory and sizes nothing starts. */
		peer_send_fd(peer.fd, VHOST_MSG_SET_VRING_KICK, 1, peer.kick[1]);
		peer_send_state(peer.fd, VHOST_MSG_GET_VRING_BASE, 1, 0);
		assert_true(peer_receive(peer.fd, &msg));
		assert_int_equal(msg.state.num, 0);
		assert_int_equal(owner->starts, i - 1);
		peer_negotiate(&peer, 1ull << VIRTIO_F_VERSION_1, 0);
		peer_set_ring(&peer, 1);
		owner_wait(owner, owner->starts == i);
		peer_fini(&peer);
		owner_wait(owner, owner->gones == i && owner->stops == i && owner->downs == i);
	}
	owner_destroy(&f->env, owner);
}

static void a_stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct owner *owner;
	int fd;

	close(listen_at(f)); /* its name stays */
	owner = owner_create(&f->env, &f->config, NULL);
	fd = connect_to(f);
	assert_serves(fd);
	close(fd);
	owner_destroy(&f->env, owner);
}

static void a_living_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct owner *owner = NULL;
	int fd = listen_at(f);

	assert_int_equal(owner_create_err(&f->env, &f->config, &owner), -EADDRINUSE);
	assert_int_equal(access(f->path, F_OK), 0);
	close(fd);
}

static void other_files_are_left_alone(void **state)
{
	struct fixture *f = *state;
	struct owner *owner = NULL;
	char path[200];

	close(open(f->path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(owner_create_err(&f->env, &f->config, &owner), -EEXIST);
	assert_int_equal(access(f->path, F_OK), 0);
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	f->config.path = path;
	assert_int_equal(owner_create_err(&f->env, &f->config, &owner), -ENAMETOOLONG);
	f->config.path = "/nonexistent/sock";
	assert_int_equal(owner_create_err(&f->env, &f->config, &owner), -ENOENT);
}

static void it_connects_until_it_succeeds(void **state)
{
	struct fixture *f = *state;
	struct owner *owner;
	int listening, fd;

	f->config.role = VHOST_BACKEND_CLIENT;
	owner = owner_create(&f->env, &f->config, NULL);
	usleep(20000); /* a few attempts fail */
	for (unsigned int i = 1; i <= 2; i++) {
		listening = listen_at(f);
		fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		assert_true(fd >= 0);
		close(listening);
		unlink(f->path);
		assert_serves(fd);
		close(fd);
		owner_wait(owner, owner->gones == i);
	}
	owner_destroy(&f->env, owner);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_serves_one_peer_after_another),
		T(nothing_is_left_of_the_former_peer),
		T(a_stale_socket_is_replaced),
		T(a_living_socket_is_left_alone),
		T(other_files_are_left_alone),
		T(it_connects_until_it_succeeds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
