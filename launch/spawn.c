#include "launch/spawn.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "launch/namespaces.h"

/* What went wrong in the child, told through a pipe that execve closes. */
struct report {
	int err;
	char step[32];
};

static void child_failed(int report_fd, const char *step)
{
	struct report report = {.err = errno};

	snprintf(report.step, sizeof(report.step), "%s", step);
	if (write(report_fd, &report, sizeof(report)) < 0)
		_exit(126);
	_exit(127);
}

/*
 * Puts fds[i] at 3 + i, the report pipe behind them, the program's file behind that, and closes
 * all else. Sources are first moved out of the way of the targets.
 */
static int arrange_fds(const struct spawn_plan *plan, int *report_fd, int *program_fd)
{
	int first_free = SPAWN_FIRST_FD + (int)plan->fd_count + 2;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int moved[SPAWN_MAX_FDS + 2];

	for (unsigned int i = 0; i < plan->fd_count; i++)
		moved[i] = fcntl(plan->fds[i], F_DUPFD, first_free);
	*report_fd = fcntl(*report_fd, F_DUPFD, first_free);
	moved[plan->fd_count] = *report_fd;
	moved[plan->fd_count + 1] = fcntl(*program_fd, F_DUPFD, first_free);
	if (null < 0 || dup2(null, 0) < 0 || dup2(plan->log_fd, 1) < 0 ||
	    dup2(plan->log_fd, 2) < 0)
		return -1;
	for (unsigned int i = 0; i < plan->fd_count + 2; i++) {
		if (moved[i] < 0 || dup2(moved[i], SPAWN_FIRST_FD + (int)i) < 0)
			return -1;
	}
	*report_fd = first_free - 2;
	*program_fd = first_free - 1;
	if (fcntl(*report_fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(*program_fd, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	return (int)syscall(SYS_close_range, first_free, ~0U, 0);
}

/* Where root lacks CAP_SYS_RESOURCE (containers), our own hard limit is as much as there is. */
static int limit(const struct spawn_limit *l)
{
	const __rlimit_resource_t resource = (__rlimit_resource_t)l->resource;
	struct rlimit r = {.rlim_cur = l->soft ? l->soft : l->value, .rlim_max = l->value};

	if (setrlimit(resource, &r) == 0)
		return 0;
	if (errno != EPERM || getrlimit(resource, &r) < 0)
		return -1;
	log_warn("limit of %s: %llu wanted, %llu is all there is (no CAP_SYS_RESOURCE)", l->name,
		 (unsigned long long)l->value, (unsigned long long)r.rlim_max);
	r.rlim_cur = l->soft ? MIN((rlim_t)l->soft, r.rlim_max) : r.rlim_max;
	return setrlimit(resource, &r);
}

static int set_limits(const struct spawn_plan *plan)
{
	/* A core would hold the guest's memory. */
	const struct spawn_limit core = {RLIMIT_CORE, "cores", 0, 0};

	for (unsigned int i = 0; i < plan->limit_count; i++) {
		if (limit(&plan->limits[i]) < 0)
			return -1;
	}
	return limit(&core);
}

/* Changes to the uid with nothing left but plan->caps, also in the bounding set. */
static int drop_privileges(const struct spawn_plan *plan)
{
	capng_clear(CAPNG_SELECT_ALL);
	for (unsigned int cap = 0; cap < 64; cap++) {
		if (plan->caps >> cap & 1 &&
		    capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED |
						    CAPNG_INHERITABLE | CAPNG_BOUNDING_SET,
				 cap) < 0)
			return -1;
	}
	if (capng_change_id((int)plan->uid, (int)plan->uid,
			    CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING) < 0) {
		errno = EPERM;
		return -1;
	}
	for (unsigned int cap = 0; cap < 64; cap++) {
		if (plan->caps >> cap & 1 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return -1;
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* those that cannot be set stay as they are */
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * The child. Order matters: what needs root first, the uid last. Landlock and seccomp are the
 * program's own to set up, once it has what it needs.
 */
static void child(const struct spawn_plan *plan, int report_fd, int program_fd)
{
	reset_signals();
	if (setsid() < 0)
		child_failed(report_fd, "setsid");
	if (plan->namespaces && namespaces_mount(plan->namespaces) < 0)
		child_failed(report_fd, "namespaces");
	if (arrange_fds(plan, &report_fd, &program_fd) < 0)
		child_failed(report_fd, "descriptors");
	if (chdir("/") < 0)
		child_failed(report_fd, "chdir");
	umask(077);
	if (set_limits(plan) < 0)
		child_failed(report_fd, "limits");
	if (drop_privileges(plan) < 0)
		child_failed(report_fd, "uid and capabilities");
	/* The very file that was opened as root: it need not be reachable for this uid. */
	syscall(SYS_execveat, program_fd, "", plan->argv, plan->env, AT_EMPTY_PATH);
	child_failed(report_fd, "execution");
}

/* Waits until the child has executed or reported. */
static int await(int report_fd, pid_t pid, const char *program, char *why, size_t why_size)
{
	struct report report;
	ssize_t n;

	do {
		n = read(report_fd, &report, sizeof(report));
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	/* Without its report nobody knows whether it will ever end. */
	if (n != sizeof(report))
		kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (n != sizeof(report)) {
		snprintf(why, why_size, "starting %s: its report was lost", program);
		return -EIO;
	}
	report.step[sizeof(report.step) - 1] = '\0';
	snprintf(why, why_size, "starting %s: %s: %s", program, report.step,
		 strerror(report.err));
	return -(report.err ? report.err : EIO);
}

/* dir/vmm where it is installed, dir/vmm/vmm in a build directory. */
static int open_program(const struct spawn_plan *plan, char *why, size_t why_size)
{
	char path[4096];
	struct stat st;
	int fd, err;

	for (unsigned int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s%s%s", plan->dir, plan->program, i ? "/" : "",
			 i ? plan->program : "");
		fd = open(path, O_PATH | O_CLOEXEC);
		err = fd < 0 ? errno : EACCES;
		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	snprintf(why, why_size, "%s/%s: %s", plan->dir, plan->program, strerror(err));
	return -err;
}

int spawn_process(const struct spawn_plan *plan, pid_t *pid, char *why, size_t why_size)
{
	int program, err;
	int report[2];

	if (plan->fd_count > SPAWN_MAX_FDS) {
		snprintf(why, why_size, "%u descriptors for %s, at most %d", plan->fd_count,
			 plan->program, SPAWN_MAX_FDS);
		return -EINVAL;
	}
	program = open_program(plan, why, why_size);
	if (program < 0)
		return program;
	if (pipe2(report, O_CLOEXEC) < 0) {
		err = -errno;
		snprintf(why, why_size, "pipe: %s", strerror(-err));
		close(program);
		return err;
	}
	*pid = plan->namespaces ? namespaces_fork(plan->cgroup) : fork();
	if (*pid == 0)
		child(plan, report[1], program);
	err = *pid < 0 ? -errno : 0;
	close(program);
	close(report[1]);
	if (err)
		snprintf(why, why_size, "fork: %s", strerror(-err));
	else
		err = await(report[0], *pid, plan->program, why, why_size);
	close(report[0]);
	return err;
}
