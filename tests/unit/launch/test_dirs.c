/* Which ids become names, and how a directory of somebody hostile is cleared. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "launch/dirs.h"

#define X32 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void test_ids_of_vms(void **state)
{
	static const char *const bad[] = {
		"", ".", "..", "a.b", "a/b", "/", "A", "a b", "a\n", "\xc3\xa9", X32 "x",
	};

	assert_true(dirs_vm_id_ok("g1"));
	assert_true(dirs_vm_id_ok("-"));
	assert_true(dirs_vm_id_ok(X32));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(dirs_vm_id_ok(bad[i]));
}

static void test_ids_of_ports(void **state)
{
	static const char *const bad[] = {
		"", ".", "..", ".a", "a/b", "../a", "A", "a\t", X32 X32 "xx",
	};

	assert_true(dirs_port_id_ok("g1-net0"));
	assert_true(dirs_port_id_ok("g1.net0"));
	assert_true(dirs_port_id_ok("a.."));
	assert_true(dirs_port_id_ok(X32 X32 "x"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(dirs_port_id_ok(bad[i]));
}

/* A run directory in which we need not be root. */
struct fixture {
	char path[64];
	struct run_dirs dirs;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int run;

	assert_non_null(f);
	strcpy(f->path, "/tmp/test_dirs.XXXXXX");
	assert_non_null(mkdtemp(f->path));
	run = open(f->path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(run, "ports", 0700), 0);
	assert_int_equal(mkdirat(run, "ports/p", 0700), 0);
	f->dirs.ports = openat(run, "ports", O_RDONLY | O_DIRECTORY);
	assert_true(f->dirs.ports >= 0);
	f->dirs.vms = f->dirs.ports;
	close(run);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[96];

	snprintf(path, sizeof(path), "%s/ports", f->path);
	rmdir(path);
	close(f->dirs.ports);
	assert_int_equal(rmdir(f->path), 0);
	free(f);
	return 0;
}

static void test_release_follows_no_symlink(void **state)
{
	struct fixture *f = *state;
	int ports = f->dirs.ports;
	char why[256];

	assert_int_equal(mkdirat(ports, "victim", 0700), 0);
	assert_int_equal(mknodat(ports, "victim/file", S_IFREG | 0600, 0), 0);
	assert_int_equal(symlinkat("../victim/file", ports, "p/sock"), 0);
	assert_int_equal(symlinkat("../victim", ports, "p/more"), 0);
	assert_int_equal(symlinkat("victim", ports, "q"), 0);

	assert_int_equal(dirs_release_port(&f->dirs, "p", why, sizeof(why)), 0);
	assert_int_equal(faccessat(ports, "p", F_OK, 0), -1);
	/* The port's directory itself as a link. */
	assert_true(dirs_release_port(&f->dirs, "q", why, sizeof(why)) < 0);
	assert_int_equal(faccessat(ports, "victim/file", F_OK, 0), 0);

	assert_int_equal(unlinkat(ports, "q", 0), 0);
	assert_int_equal(unlinkat(ports, "victim/file", 0), 0);
	assert_int_equal(unlinkat(ports, "victim", AT_REMOVEDIR), 0);
}

static void test_release_says_why_not(void **state)
{
	struct fixture *f = *state;
	char why[256];

	assert_int_equal(dirs_release_port(&f->dirs, "absent", why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "absent"));
	assert_int_equal(mkdirat(f->dirs.ports, "p/directory", 0700), 0);
	assert_int_equal(dirs_release_port(&f->dirs, "p", why, sizeof(why)), -ENOTEMPTY);
	assert_int_equal(unlinkat(f->dirs.ports, "p/directory", AT_REMOVEDIR), 0);
	assert_int_equal(dirs_release_port(&f->dirs, "p", why, sizeof(why)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_of_vms),
		cmocka_unit_test(test_ids_of_ports),
		cmocka_unit_test_setup_teardown(test_release_follows_no_symlink, setup, teardown),
		cmocka_unit_test_setup_teardown(test_release_says_why_not, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
