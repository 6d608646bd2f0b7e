/*
 * The lists of system calls: how long they are, and what must not be on them. That they suffice, and
 * that they hold, is for tests/component and tests/hostile/test_escape.py.
 */
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "vmm/sandbox.h"

#define MAX_VCPU 24u
#define MAX_ALL	 50u

static const struct syscall_rule *find(enum sandbox_thread thread, int number)
{
	size_t count;
	const struct syscall_rule *rules = sandbox_rules(thread, &count);

	for (size_t i = 0; i < count; i++)
		if (rules[i].number == number)
			return &rules[i];
	return NULL;
}

static void test_lengths(void **state)
{
	size_t vcpu, all;
	const struct syscall_rule *rules = sandbox_rules(SANDBOX_VCPU, &vcpu);

	sandbox_rules(SANDBOX_MAIN, &all);
	for (size_t i = 0; i < vcpu; i++)
		all += !find(SANDBOX_MAIN, rules[i].number);
	print_message("vCPU threads %zu, all of vmm %zu\n", vcpu, all);
	assert_true(vcpu <= MAX_VCPU);
	assert_true(all <= MAX_ALL);
}

static void test_no_call_twice(void **state)
{
	for (int thread = SANDBOX_MAIN; thread <= SANDBOX_VCPU; thread++) {
		size_t count;
		const struct syscall_rule *rules = sandbox_rules(thread, &count);

		for (size_t i = 0; i < count; i++)
			assert_ptr_equal(find(thread, rules[i].number), &rules[i]);
	}
}

/* With arguments these are something else than what is meant. */
static void test_commands_are_listed(void **state)
{
	static const int by_argument[] = {SCMP_SYS(ioctl), SCMP_SYS(mmap),   SCMP_SYS(mprotect),
					  SCMP_SYS(fcntl), SCMP_SYS(socket), SCMP_SYS(tgkill),
					  SCMP_SYS(madvise), SCMP_SYS(newfstatat)};

	for (int thread = SANDBOX_MAIN; thread <= SANDBOX_VCPU; thread++) {
		for (size_t i = 0; i < ARRAY_SIZE(by_argument); i++) {
			const struct syscall_rule *rule = find(thread, by_argument[i]);

			assert_true(!rule || rule->values);
		}
	}
}

static void test_what_is_not_there(void **state)
{
	static const int never[] = {
		SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(execve),
		SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone),
		SCMP_SYS(clone3), SCMP_SYS(ptrace), SCMP_SYS(kill), SCMP_SYS(bind),
		SCMP_SYS(prctl), SCMP_SYS(seccomp), SCMP_SYS(io_uring_setup),
		SCMP_SYS(io_uring_register), SCMP_SYS(memfd_create), SCMP_SYS(dup),
		SCMP_SYS(dup2), SCMP_SYS(setrlimit), SCMP_SYS(prlimit64), SCMP_SYS(unlink),
		SCMP_SYS(ftruncate), SCMP_SYS(mlock), SCMP_SYS(remap_file_pages),
	};
	const struct syscall_rule *rule = find(SANDBOX_MAIN, SCMP_SYS(ioctl));

	for (int thread = SANDBOX_MAIN; thread <= SANDBOX_VCPU; thread++)
		for (size_t i = 0; i < ARRAY_SIZE(never); i++)
			assert_null(find(thread, never[i]));
	for (size_t i = 0; i < rule->value_count; i++)
		assert_true(rule->values[i] != KVM_RUN && rule->values[i] != KVM_CREATE_VM &&
			    rule->values[i] != KVM_CREATE_VCPU);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_no_call_twice),
		cmocka_unit_test(test_commands_are_listed),
		cmocka_unit_test(test_what_is_not_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
