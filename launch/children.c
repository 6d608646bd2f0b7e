#include "launch/children.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	struct child *next;
	struct launch *launch;
	struct loop_io *io;
	pid_t pid;
	int pidfd;
	uid_t uid;
	uint64_t start_time;
};

/* All of a small file of /proc/PID; false: gone. */
static bool read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	return true;
}

uint64_t process_start_time(pid_t pid)
{
	uint64_t start_time = 0;
	char buf[1024];
	const char *p;

	if (!read_proc(pid, "stat", buf, sizeof(buf)))
		return 0;
	/* The name, field 2, may contain anything; field 3 follows the last parenthesis. */
	p = strrchr(buf, ')');
	if (!p || sscanf(p + 1,
			 " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			 "%*d %*d %" SCNu64,
			 &start_time) != 1)
		return 0;
	return start_time;
}

/* The switch's uid, or one given to a VM of our run directory, in all four kinds. */
static bool process_is_ours(const struct run_dirs *dirs, pid_t pid)
{
	unsigned int uid[4];
	char buf[4096];
	const char *p;

	if (!read_proc(pid, "status", buf, sizeof(buf)))
		return false;
	p = strstr(buf, "\nUid:");
	if (!p || sscanf(p, "\nUid: %u %u %u %u", &uid[0], &uid[1], &uid[2], &uid[3]) != 4)
		return false;
	if (uid[1] != uid[0] || uid[2] != uid[0] || uid[3] != uid[0])
		return false;
	return uid[0] == LAUNCH_SWITCH_UID ||
	       (uid[0] >= LAUNCH_VM_UID_FIRST && uid[0] <= LAUNCH_VM_UID_LAST &&
		dirs_know_uid(dirs, uid[0]));
}

int process_kill(const struct run_dirs *dirs, pid_t pid, uint64_t start_time, int signo,
		 struct launch_error *error)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int err = 0;

	if (fd < 0)
		return launch_refuse(error, RPC_NOT_FOUND, "pid", "process %d: %s", pid,
				     strerror(errno));
	/* With the pidfd held, what /proc says of this pid cannot be of a later process, unless
	 * ours is gone; then the signal below reaches nobody. */
	if (process_start_time(pid) != start_time)
		err = launch_refuse(error, RPC_NOT_FOUND, "start_time",
				    "process %d is another one: it started at %" PRIu64, pid,
				    process_start_time(pid));
	else if (!process_is_ours(dirs, pid))
		err = launch_refuse(error, RPC_REFUSED, "pid",
				    "process %d is neither a vmm nor a vswitch of ours", pid);
	else if (syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) < 0)
		err = launch_refuse(error, errno == ESRCH ? RPC_NOT_FOUND : RPC_HOST_FAILURE,
				    "pid", "process %d: %s", pid, strerror(errno));
	close(fd);
	return err;
}

static void child_free(struct child *child)
{
	struct child **link = &child->launch->children;

	while (*link != child)
		link = &(*link)->next;
	*link = child->next;
	loop_io_remove(child->io);
	if (child->pidfd >= 0)
		close(child->pidfd);
	free(child);
}

static void child_ended(void *opaque, int fd, unsigned int events)
{
	struct child *child = opaque;
	siginfo_t info = {0};
	json_t *params;

	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0) {
		log_err("waiting for process %d: %s", child->pid, strerror(errno));
		child_free(child);
		return;
	}
	if (!info.si_pid)
		return;
	log_info("process %d (uid %u) ended: %s %d", child->pid, child->uid,
		 info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	params = json_pack("{s:i, s:I, s:i}", "pid", (int)child->pid, "start_time",
			   (json_int_t)child->start_time,
			   info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	rpc_server_notify(child->launch->rpc, "process.exited", params);
	child_free(child);
}

int children_add(struct launch *launch, pid_t pid, uid_t uid, uint64_t *start_time)
{
	struct child *child = calloc(1, sizeof(*child));

	if (!child)
		return -ENOMEM;
	*child = (struct child){.next = launch->children, .launch = launch, .pid = pid, .uid = uid};
	launch->children = child;
	/* Not reaped yet, so the pid is still its own even if it has ended. */
	child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	child->start_time = process_start_time(pid);
	if (child->pidfd >= 0)
		child->io = loop_io_add(launch->loop, child->pidfd, LOOP_READ, child_ended, child);
	if (!child->io || !child->start_time) {
		child_free(child);
		return -EIO;
	}
	*start_time = child->start_time;
	return 0;
}

void children_forget(struct launch *launch)
{
	while (launch->children)
		child_free(launch->children);
}
