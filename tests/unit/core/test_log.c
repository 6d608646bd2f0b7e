#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"

/* Standard error goes into a pipe while a test runs. */
struct capture {
	int saved;
	int read_fd;
	char text[8192];
};

static struct capture cap;

static void capture_begin(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	cap.saved = dup(STDERR_FILENO);
	assert_true(cap.saved >= 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	close(fds[1]);
	cap.read_fd = fds[0];
}

static const char *capture_end(void)
{
	ssize_t n;

	dup2(cap.saved, STDERR_FILENO);
	close(cap.saved);
	n = read(cap.read_fd, cap.text, sizeof(cap.text) - 1);
	close(cap.read_fd);
	cap.text[n > 0 ? n : 0] = '\0';
	return cap.text;
}

static void test_line_has_program_and_level(void **state)
{
	log_init("prog", LOG_LEVEL_INFO);
	capture_begin();
	log_err("no %s", "disk");
	log_info("up");
	assert_string_equal(capture_end(), "prog: error: no disk\nprog: info: up\n");
}

static void test_the_program_has_its_name(void **state)
{
	char name[16] = "";

	log_init("prog", LOG_LEVEL_INFO);
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	assert_string_equal(name, "prog");
}

static void test_level_filters(void **state)
{
	log_init("prog", LOG_LEVEL_WARNING);
	capture_begin();
	log_info("hidden");
	log_debug("hidden");
	log_warn("seen");
	assert_string_equal(capture_end(), "prog: warning: seen\n");
}

static void test_control_characters_stay_out(void **state)
{
	log_init("prog", LOG_LEVEL_INFO);
	capture_begin();
	log_info("name '%s'", "a\nprog: error: forged\x1b[2J");
	assert_string_equal(capture_end(), "prog: info: name 'a?prog: error: forged?[2J'\n");
}

static void test_long_line_is_cut_and_ends(void **state)
{
	char big[5000];
	const char *out;
	size_t len;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_init("prog", LOG_LEVEL_INFO);
	capture_begin();
	log_info("%s", big);
	out = capture_end();
	len = strlen(out);
	assert_true(len > 900 && len <= 1024);
	assert_string_equal(out + len - 4, "...\n");
	assert_ptr_equal(strchr(out, '\n'), out + len - 1);
}

static void test_errno_survives(void **state)
{
	log_init("prog", LOG_LEVEL_INFO);
	capture_begin();
	errno = ENOENT;
	log_err("%m");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(capture_end(), "prog: error: No such file or directory\n");
}

static void test_guest_lines_are_limited(void **state)
{
	const char *out;
	int lines = 0;

	log_init("prog", LOG_LEVEL_INFO);
	capture_begin();
	for (int i = 0; i < 100; i++)
		log_guest("bad ring %d", i);
	out = capture_end();
	while ((out = strchr(out, '\n'))) {
		lines++;
		out++;
	}
	assert_int_equal(lines, 5);
}

static void test_suppressed_count_is_said(void **state)
{
	struct ratelimit rl = RATELIMIT_INIT(0, 1);

	log_init("prog", LOG_LEVEL_INFO);
	rl.suppressed = 12;
	capture_begin();
	log_msg_limited(&rl, LOG_LEVEL_WARNING, "again");
	assert_string_equal(capture_end(),
			    "prog: warning: again (12 such lines suppressed)\n");
}

static void test_level_names(void **state)
{
	enum log_level level;

	assert_int_equal(log_level_parse("error", &level), 0);
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	assert_int_equal(log_level_parse("Error", &level), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_has_program_and_level),
		cmocka_unit_test(test_the_program_has_its_name),
		cmocka_unit_test(test_level_filters),
		cmocka_unit_test(test_control_characters_stay_out),
		cmocka_unit_test(test_long_line_is_cut_and_ends),
		cmocka_unit_test(test_errno_survives),
		cmocka_unit_test(test_guest_lines_are_limited),
		cmocka_unit_test(test_suppressed_count_is_said),
		cmocka_unit_test(test_level_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
