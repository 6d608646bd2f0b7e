#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/kvm_stats.h"

#define NAME_SIZE 48

struct descriptor {
	struct kvm_stats_desc desc;
	char name[NAME_SIZE];
};

struct file {
	struct kvm_stats_header header;
	struct descriptor desc[2];
	uint64_t data[4];
};

struct seen {
	unsigned int count;
	char name[2][NAME_SIZE];
	uint64_t value[2];
};

static const struct file good = {
	.header = {
		.name_size = NAME_SIZE,
		.num_desc = 2,
		.desc_offset = offsetof(struct file, desc),
		.data_offset = offsetof(struct file, data),
	},
	.desc = {
		{{.size = 1, .offset = 8}, "pages_4k"},
		{{.size = 2, .offset = 16}, "histogram"},
	},
	.data = {1000, 7, 30, 12},
};

static int file_of(const void *content, size_t size)
{
	int fd = memfd_create("stats", 0);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, size), size);
	return fd;
}

static void emit(void *opaque, const char *name, uint64_t value)
{
	struct seen *seen = opaque;

	assert_true(seen->count < 2);
	strncpy(seen->name[seen->count], name, NAME_SIZE - 1);
	seen->value[seen->count++] = value;
}

static void names_and_values_are_read(void **state)
{
	int fd = file_of(&good, sizeof(good));
	struct seen seen = {0};

	assert_int_equal(kvm_stats_read(fd, emit, &seen), 0);
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.name[0], "pages_4k");
	assert_int_equal(seen.value[0], 7);
	assert_string_equal(seen.name[1], "histogram");
	assert_int_equal(seen.value[1], 42);
	close(fd);
}

static void what_is_cut_or_absurd_is_refused(void **state)
{
	struct file odd = good;
	struct seen seen = {0};
	int fd = file_of(&good, sizeof(good) - 4);

	assert_int_equal(kvm_stats_read(fd, emit, &seen), -EPROTO);
	close(fd);
	odd.header.num_desc = 0xffffffff;
	fd = file_of(&odd, sizeof(odd));
	assert_int_equal(kvm_stats_read(fd, emit, &seen), -EPROTO);
	close(fd);
	odd = good;
	odd.header.name_size = 0;
	fd = file_of(&odd, sizeof(odd));
	assert_int_equal(kvm_stats_read(fd, emit, &seen), -EPROTO);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_values_are_read),
		cmocka_unit_test(what_is_cut_or_absurd_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
