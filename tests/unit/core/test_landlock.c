#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/landlock.h"

struct places {
	char top[32], in[48], file[48], out[48];
};

static void make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static int set_up(void **state)
{
	struct places *p = calloc(1, sizeof(*p));

	snprintf(p->top, sizeof(p->top), "/tmp/landlock-XXXXXX");
	if (!mkdtemp(p->top))
		return -1;
	snprintf(p->in, sizeof(p->in), "%s/in", p->top);
	snprintf(p->file, sizeof(p->file), "%s/file", p->top);
	snprintf(p->out, sizeof(p->out), "%s/out", p->top);
	mkdir(p->in, 0700);
	mkdir(p->out, 0700);
	make_file(p->file);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	char command[64];
	struct places *p = *state;

	snprintf(command, sizeof(command), "rm -rf %s", p->top);
	free(p);
	return system(command);
}

static bool opens(const char *dir, const char *name, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s%s", dir, name);
	fd = open(path, flags, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool connects_tcp(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool forbidden;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	forbidden = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == EACCES;
	close(fd);
	return !forbidden;
}

/* The first expectation that does not hold, from 1; 0: all do. */
static int judge(const struct places *p, bool with_tcp)
{
	char made[64];

	snprintf(made, sizeof(made), "%s/dir", p->in);
	const bool held[] = {
		opens(p->in, "/new", O_RDWR | O_CREAT),
		opens(p->in, "/new", O_RDWR | O_TRUNC),
		opens(p->in, "", O_RDONLY | O_DIRECTORY),
		mkdir(made, 0700) < 0,
		mknod(made, S_IFIFO | 0600, 0) < 0,
		mknod(made, S_IFCHR | 0600, 0x103) < 0,
		opens(p->file, "", O_RDONLY),
		!opens(p->file, "", O_WRONLY),
		!opens(p->out, "", O_RDONLY | O_DIRECTORY),
		!opens(p->out, "/new", O_WRONLY | O_CREAT),
		!opens("/dev/null", "", O_RDONLY),
		!opens("/etc/passwd", "", O_RDONLY),
		execl("/bin/true", "true", NULL) < 0,
		!with_tcp || !connects_tcp(),
	};

	for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
		if (!held[i])
			return (int)i + 1;
	}
	return 0;
}

static void test_only_what_is_listed(void **state)
{
	const struct places *p = *state;
	const struct landlock_rule rules[] = {
		{p->in, LANDLOCK_WRITE},
		{p->file, LANDLOCK_READ},
	};
	int status, abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
	pid_t pid;

	if (abi < 0)
		skip();
	pid = fork();
	if (!pid)
		_exit(landlock_install("test", rules, ARRAY_SIZE(rules)) ? 99 : judge(p, abi >= 4));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_rule_for_nothing_is_an_error(void **state)
{
	const struct landlock_rule rule = {"/nowhere/at/all", LANDLOCK_READ};
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(landlock_install("test", &rule, 1) < 0 && opens("/etc/passwd", "", O_RDONLY));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_only_what_is_listed, set_up, tear_down),
		cmocka_unit_test(test_rule_for_nothing_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
