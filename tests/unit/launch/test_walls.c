#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/walls.h"

/* How a child ends that does this behind the walls: minus its signal, or its status. */
static int outcome(long (*act)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(walls_raise(0) ? 255 : act() < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static long load_module(void)
{
	return syscall(SYS_init_module, NULL, 0, "");
}

static long load_kernel(void)
{
	return syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static long load_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long restart_host(void)
{
	return syscall(SYS_reboot, 0, 0, 0, NULL);
}

static long swap_off(void)
{
	return syscall(SYS_swapoff, "/nowhere");
}

static long set_clock(void)
{
	return syscall(SYS_clock_settime, -1, NULL);
}

static long read_anothers_memory(void)
{
	return syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}

static long take_anothers_descriptor(void)
{
	return syscall(SYS_pidfd_getfd, -1, 0, 0);
}

static long watch_perf(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long read_key(void)
{
	return syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}

static long open_by_handle(void)
{
	return syscall(SYS_open_by_handle_at, -1, NULL, 0);
}

/* In a program it starts, too. */
static long in_a_child(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(load_module() < 0);
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ?
		       load_module() : -1;
}

static void test_calls_that_end_it(void **state)
{
	long (*const acts[])(void) = {
		load_module, load_kernel,	   load_bpf,		     restart_host,
		swap_off,    set_clock,		   read_anothers_memory,     take_anothers_descriptor,
		watch_perf,  read_key,		   open_by_handle,	     in_a_child,
	};

	if (geteuid())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		print_message("call %zu\n", i);
		assert_int_equal(outcome(acts[i]), -SIGSYS);
	}
}

static long make_device(void)
{
	return syscall(SYS_mknodat, -100, "/tmp/launch-walls-node", 0020600, 0x103) < 0 &&
	       errno == EPERM ? 0 : -1;
}

static long speak_raw(void)
{
	return syscall(SYS_socket, 17 /* AF_PACKET */, 3, 0) < 0 && errno == EPERM ? 0 : -1;
}

static long become_a_vm(void)
{
	return syscall(SYS_setresuid, 61000, 61000, 61000);
}

static void test_what_capabilities_are_for(void **state)
{
	if (geteuid())
		skip();
	assert_int_equal(outcome(make_device), 0);
	assert_int_equal(outcome(speak_raw), 0);
	assert_int_equal(outcome(become_a_vm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_that_end_it),
		cmocka_unit_test(test_what_capabilities_are_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
