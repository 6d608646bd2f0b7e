/* Finding the control groups, and making one: in a directory that only looks like one. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "launch/cgroup.h"

static bool find(const char *text, char *path, size_t size)
{
	FILE *file = fmemopen((void *)text, strlen(text), "r");
	bool found;

	assert_non_null(file);
	found = cgroups_find(file, path, size);
	fclose(file);
	return found;
}

static void test_find(void **state)
{
	char path[64];

	assert_true(find("22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw\n"
			 "30 22 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			 path, sizeof(path)));
	assert_string_equal(path, "/sys/fs/cgroup");
	assert_false(find("31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", path,
			  sizeof(path)));
	assert_false(find("nonsense - cgroup2 \n", path, sizeof(path)));
	assert_false(find("30 22 0:26 / /longer/than/there/is/room rw - cgroup2 none rw\n", path, 8));
}

static void expect(int dir, const char *file, const char *text)
{
	char got[64] = "";
	int fd = openat(dir, file, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof(got) - 1), strlen(text));
	assert_string_equal(got, text);
	close(fd);
	assert_int_equal(unlinkat(dir, file, 0), 0);
}

static void test_create(void **state)
{
	static const char *const files[] = {"memory.max", "pids.max", "memory.oom.group"};
	const struct cgroup_limits limits = {.memory = 5000000000, .pids = 66};
	char name[] = "/tmp/test-cgroup-XXXXXX", why[512] = "";
	struct cgroups groups = {.dir = -1, .prefix = "vmm-run-vmm"};
	int dir;

	assert_int_equal(cgroups_create(&groups, "g1", &limits, why, sizeof(why)), -ENOENT);
	cgroups_remove(&groups, "g1");
	assert_non_null(mkdtemp(name));
	groups.dir = open(name, O_RDONLY | O_DIRECTORY);
	assert_true(groups.dir >= 0);
	/* A plain directory has no such files: refused, with the group's name. */
	assert_true(cgroups_create(&groups, "g1", &limits, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "vmm-run-vmm-g1"));
	dir = openat(groups.dir, "vmm-run-vmm-g1", O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		close(openat(dir, files[i], O_WRONLY | O_CREAT, 0600));
	close(dir);
	/* One that is there already is taken. */
	dir = cgroups_create(&groups, "g1", &limits, why, sizeof(why));
	assert_true(dir >= 0);
	expect(dir, "memory.max", "5000000000");
	expect(dir, "pids.max", "66");
	expect(dir, "memory.oom.group", "1");
	close(dir);
	cgroups_remove(&groups, "g1");
	assert_int_equal(faccessat(groups.dir, "vmm-run-vmm-g1", F_OK, 0), -1);
	close(groups.dir);
	assert_int_equal(rmdir(name), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_create),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
