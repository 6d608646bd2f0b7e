/*
 * A guest with some RAM, and kernel files made byte by byte, for the tests of the loaders.
 */
#ifndef TESTS_UNIT_VMM_BOOT_ENV_H
#define TESTS_UNIT_VMM_BOOT_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmm/boot.h"

#define BOOT_ENV_RAM (32 * MIB)

struct boot_env {
	struct guest_memory *gm;
	struct boot_request req; /* kernel.fd is of a memfd that env_kernel fills */
	struct boot_cpu cpu;
	char why[256];
};

int boot_env_setup(void **state); /* cmocka's: *state is a struct boot_env */
int boot_env_teardown(void **state);

/* A memfd with this content, read-only from its start; closed by the caller. */
int boot_env_file(const void *data, size_t size);
/* Makes this content the kernel. */
void boot_env_kernel(struct boot_env *env, const void *data, size_t size);
int boot_env_load(struct boot_env *env);
/* Loads, expects failure and that `why` has this text. */
void boot_env_refused(struct boot_env *env, const char *text);

const uint8_t *boot_env_guest(struct boot_env *env, gpa_t gpa, uint64_t len);

#endif
