/* Listening at a path and connecting to it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/unix_socket.h"

struct place {
	char dir[32], path[48];
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return -1;
	strcpy(p->dir, "/tmp/unix-socket-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	snprintf(p->path, sizeof(p->path), "%s/s", p->dir);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	unlink(p->path);
	rmdir(p->dir);
	free(p);
	return 0;
}

static void test_the_two_ends_meet(void **state)
{
	struct place *p = *state;
	int listener = unix_socket_listen(p->path, 1), client, peer;
	struct stat st;
	char c = 0;

	assert_true(listener >= 0);
	assert_int_equal(lstat(p->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	client = unix_socket_connect(p->path);
	assert_true(client >= 0);
	assert_true(fcntl(client, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(client, F_GETFD) & FD_CLOEXEC);
	peer = accept(listener, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(write(client, "x", 1), 1);
	assert_int_equal(read(peer, &c, 1), 1);
	assert_int_equal(c, 'x');
	close(peer);
	close(client);
	close(listener);
}

static void test_a_path_in_use_is_kept(void **state)
{
	struct place *p = *state;
	int listener = unix_socket_listen(p->path, 1);

	assert_true(listener >= 0);
	assert_int_equal(unix_socket_listen(p->path, 1), -EADDRINUSE);
	close(listener);
	assert_int_equal(unix_socket_listen(p->path, 1), -EADDRINUSE);
	assert_int_equal(unix_socket_connect(p->path), -ECONNREFUSED);
	assert_int_equal(access(p->path, F_OK), 0);
}

static void test_nobody_is_there(void **state)
{
	struct place *p = *state;

	assert_int_equal(unix_socket_connect(p->path), -ENOENT);
}

static void test_a_path_too_long_is_refused(void **state)
{
	char path[109];

	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(unix_socket_listen(path, 1), -ENAMETOOLONG);
	assert_int_equal(unix_socket_connect(path), -ENAMETOOLONG);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_two_ends_meet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_path_in_use_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_is_there, setup, teardown),
		cmocka_unit_test(test_a_path_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
