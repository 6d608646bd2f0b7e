/* What is opened for a VM, and what is refused. */
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

#include "launch/devices.h"

struct fixture {
	char dir[64];
	char images[96], more[96];
	struct launch_options options;
	struct launch_error error;
};

static const char *in(struct fixture *f, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	return path;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/test_devices.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	/* A trailing slash is an operator's right. */
	snprintf(f->images, sizeof(f->images), "%s/images/", f->dir);
	snprintf(f->more, sizeof(f->more), "%s/more", f->dir);
	assert_int_equal(mkdir(f->images, 0700) | mkdir(f->more, 0700), 0);
	assert_int_equal(mknod(in(f, "images/disk"), S_IFREG | 0600, 0), 0);
	assert_int_equal(mknod(in(f, "more/disk"), S_IFREG | 0600, 0), 0);
	assert_int_equal(mknod(in(f, "secret"), S_IFREG | 0600, 0), 0);
	assert_int_equal(symlink("../secret", in(f, "images/out")), 0);
	assert_int_equal(symlink("disk", in(f, "images/alias")), 0);
	assert_int_equal(symlink("..", in(f, "images/up")), 0);
	assert_int_equal(mkfifo(in(f, "images/fifo"), 0600), 0);
	f->options.image_dirs[0] = f->images;
	f->options.image_dirs[1] = f->more;
	f->options.image_dir_count = 2;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {
		"images/disk", "more/disk", "secret", "images/out", "images/alias", "images/up",
		"images/fifo",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		assert_int_equal(unlink(in(f, files[i])), 0);
	assert_int_equal(rmdir(f->images) | rmdir(f->more) | rmdir(f->dir), 0);
	free(f);
	return 0;
}

static int open_image(struct fixture *f, const char *path, enum image_use use)
{
	memset(&f->error, 0, sizeof(f->error));
	return devices_open_image(&f->options, path, use, "disks.0.file", &f->error);
}

static void test_beneath_any_directory(void **state)
{
	struct fixture *f = *state;
	static const char *const good[] = { "images/disk", "images///disk", "images/./disk",
					    "more/disk" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int fd = open_image(f, in(f, good[i]), IMAGE_READ_ONLY);

		assert_true(fd >= 0);
		assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		close(fd);
	}
}

static void test_nothing_leads_out(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"secret", "images/../secret", "images/out", "images/up/secret", "images/alias",
		"images", "images/", "images/fifo", "images-too/disk", "images/absent",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(open_image(f, in(f, bad[i]), IMAGE_WRITE) < 0);
		assert_int_equal(f->error.code, RPC_INVALID_PARAMS);
		assert_string_equal(f->error.field, "disks.0.file");
		assert_non_null(strstr(f->error.why, in(f, bad[i])));
	}
	assert_true(open_image(f, "images/disk", IMAGE_BOOT) < 0);
	assert_non_null(strstr(f->error.why, "absolute path"));
}

static int lock_disk(struct fixture *f, const char *path, enum image_use use)
{
	int fd = open_image(f, path, use), lock;

	assert_true(fd >= 0);
	lock = devices_lock_disk(fd, path, use, "disks.0.file", &f->error);
	close(fd); /* the lock is not on it */
	return lock;
}

/* Locks are descriptors: two of one process are two VMs. */
static void test_a_written_disk_is_one_vms(void **state)
{
	struct fixture *f = *state;
	const char *disk = in(f, "images/disk");
	int writer = lock_disk(f, disk, IMAGE_WRITE), first, second;

	assert_true(writer >= 0);
	assert_int_equal(fcntl(writer, F_GETFD), FD_CLOEXEC);
	assert_true(lock_disk(f, disk, IMAGE_READ_ONLY) < 0);
	assert_int_equal(f->error.code, RPC_REFUSED);
	assert_string_equal(f->error.field, "disks.0.file");
	assert_true(lock_disk(f, disk, IMAGE_WRITE) < 0);
	assert_int_equal(f->error.code, RPC_REFUSED);
	close(writer);
	first = lock_disk(f, disk, IMAGE_READ_ONLY);
	second = lock_disk(f, disk, IMAGE_READ_ONLY);
	assert_true(first >= 0 && second >= 0);
	assert_true(lock_disk(f, disk, IMAGE_WRITE) < 0);
	close(first);
	close(second);
}

/* As io_uring holds it, until some time after its process has ended. */
static void test_a_disk_still_open_is_not_in_use(void **state)
{
	struct fixture *f = *state;
	const char *disk = in(f, "images/disk");
	int fd = open_image(f, disk, IMAGE_WRITE), lock;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	lock = devices_lock_disk(fd, disk, IMAGE_WRITE, "disks.0.file", &f->error);
	assert_true(lock >= 0);
	close(lock);
	lock = lock_disk(f, disk, IMAGE_WRITE);
	assert_true(lock >= 0);
	close(lock);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_beneath_any_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_leads_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_written_disk_is_one_vms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_still_open_is_not_in_use, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
