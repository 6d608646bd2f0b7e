#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mgmt/walls.h"

static char state_dir[] = "/tmp/walls-state-XXXXXX", run_dir[] = "/tmp/walls-run-XXXXXX";
static struct options options = { .state_dir = state_dir, .run_dir = run_dir };

static int set_up(void **state)
{
	return mkdtemp(state_dir) && mkdtemp(run_dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/db", state_dir);
	unlink(name);
	rmdir(state_dir);
	return rmdir(run_dir);
}

/*
 * How a child ends that does this behind the walls: minus its signal, or its status, which is 0
 * when the call succeeded and its errno when not.
 */
static int outcome(long (*act)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (walls_raise(&options))
			_exit(255);
		errno = 0;
		syscall(SYS_exit_group, act() < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static long execute(void)
{
	char *argv[] = { "true", NULL };

	return execve("/bin/true", argv, argv + 1);
}

static long start_process(void)
{
	return syscall(SYS_fork);
}

static long start_by_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0);
}

static long write_anothers_memory(void)
{
	return syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0);
}

static long signal_another(void)
{
	return syscall(SYS_kill, 1, 0);
}

#if !defined(__SANITIZE_ADDRESS__) /* whose run time may */
static long signal_anothers_thread(void)
{
	return syscall(SYS_tgkill, 1, 1, 0);
}
#endif

static long speak_inet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long speak_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long listen_somewhere(void)
{
	return syscall(SYS_listen, 0, 1);
}

static long new_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static long mount_something(void)
{
	return syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL);
}

static long load_bpf(void)
{
	return syscall(SYS_bpf, BPF_MAP_CREATE, NULL, 0);
}

static long watch_perf(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long use_ring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long make_node(void)
{
	return syscall(SYS_mknodat, AT_FDCWD, "node", S_IFCHR | 0600, 0x103);
}

static long set_user(void)
{
	return syscall(SYS_setresuid, 0, 0, 0);
}

static void test_calls_that_end_it(void **state)
{
	long (*const acts[])(void) = {
		execute,	start_process,	start_by_clone3, write_anothers_memory,
		signal_another, speak_inet,	speak_netlink,	 listen_somewhere,
		new_namespace,	mount_something, load_bpf,	 watch_perf,
		use_ring,	make_node,	set_user,
#if !defined(__SANITIZE_ADDRESS__)
		signal_anothers_thread,
#endif
	};

	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		print_message("call %zu\n", i);
		assert_int_equal(outcome(acts[i]), -SIGSYS);
	}
}

#if !defined(__SANITIZE_ADDRESS__) /* whose run time is allowed these */
static long run_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED ? -1 : 0;
}

static long command_device(void)
{
	return syscall(SYS_ioctl, 2, 0x5401, NULL);
}

static long trace_another(void)
{
	return syscall(SYS_ptrace, 16, getpid(), NULL, NULL);
}

static void test_calls_only_sanitizers_may(void **state)
{
	assert_int_equal(outcome(run_memory), -SIGSYS);
	assert_int_equal(outcome(command_device), -SIGSYS);
	assert_int_equal(outcome(trace_another), -SIGSYS);
}
#endif

static long open_null(void)
{
	return open("/dev/null", O_RDWR);
}

static long open_kvm(void)
{
	return open("/dev/kvm", O_RDWR);
}

static long open_passwords(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static long write_run_dir(void)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/file", run_dir);
	return open(name, O_WRONLY | O_CREAT, 0600);
}

static long write_proc(void)
{
	return open("/proc/self/oom_score_adj", O_WRONLY);
}

static void test_files_out_of_reach(void **state)
{
	long (*const acts[])(void) = { open_null, open_kvm, open_passwords, write_run_dir,
				       write_proc };

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		print_message("file %zu\n", i);
		assert_int_equal(outcome(acts[i]), EACCES);
	}
}

static long do_what_it_is_for(void)
{
	char name[64];
	int fd, sock = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(name, sizeof(name), "%s/db", state_dir);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) < 0 || unlink(name) < 0)
		return -1;
	return sock < 0 || open("/proc/self/stat", O_RDONLY) < 0 ? -1 : 0;
}

static void test_what_it_is_for(void **state)
{
	assert_int_equal(outcome(do_what_it_is_for), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_that_end_it),
#if !defined(__SANITIZE_ADDRESS__)
		cmocka_unit_test(test_calls_only_sanitizers_may),
#endif
		cmocka_unit_test(test_files_out_of_reach),
		cmocka_unit_test(test_what_it_is_for),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
