#include "boot_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int boot_env_setup(void **state)
{
	struct boot_env *env = calloc(1, sizeof(*env));
	const struct mem_slot_request ram = {
		.size = BOOT_ENV_RAM,
		.page_size = 4 * KIB,
		.name = "test-ram",
	};

	assert_non_null(env);
	env->gm = guest_memory_create();
	assert_non_null(env->gm);
	assert_int_equal(guest_memory_add_slot(env->gm, &ram, env->why, sizeof(env->why)), 0);
	env->req.kernel.fd = -1;
	env->req.kernel.name = "test";
	*state = env;
	return 0;
}

int boot_env_teardown(void **state)
{
	struct boot_env *env = *state;

	if (env->req.kernel.fd >= 0)
		close(env->req.kernel.fd);
	guest_memory_destroy(env->gm);
	free(env);
	return 0;
}

int boot_env_file(const void *data, size_t size)
{
	int fd = memfd_create("test-file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), (ssize_t)size);
	return fd;
}

void boot_env_kernel(struct boot_env *env, const void *data, size_t size)
{
	if (env->req.kernel.fd >= 0)
		close(env->req.kernel.fd);
	env->req.kernel.fd = boot_env_file(data, size);
}

int boot_env_load(struct boot_env *env)
{
	env->why[0] = '\0';
	return boot_load(env->gm, &env->req, &env->cpu, env->why, sizeof(env->why));
}

void boot_env_refused(struct boot_env *env, const char *text)
{
	assert_true(boot_env_load(env) < 0);
	if (!strstr(env->why, text))
		fail_msg("\"%s\" does not say \"%s\"", env->why, text);
	assert_null(strchr(env->why, '\n'));
}

const uint8_t *boot_env_guest(struct boot_env *env, gpa_t gpa, uint64_t len)
{
	const uint8_t *p = guest_memory_ptr(env->gm, gpa, len);

	assert_non_null(p);
	return p;
}
