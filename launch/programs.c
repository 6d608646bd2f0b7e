#include "launch/programs.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/cgroup.h"
#include "launch/children.h"
#include "launch/spawn.h"
#include "launch/vm_files.h"

#define MAX_WORDS      64u
#define SWITCH_MEMLOCK (256 * MIB)
#define SWITCH_NOFILE  8192u
#define VM_THREADS     64u /* beside the vCPUs': one of its own, the rest are io_uring's */
#define VM_OVERHEAD    (256 * MIB) /* beside guest RAM: program, buffers, files being read */
#define VM_VCPU_SPACE  (16 * MIB) /* of addresses: its stack, mostly */
#define VM_MIN_FSIZE   (8 * MIB) /* for the log, which begins with at most 4 */

/* A clean environment; options of the sanitizers are passed on to builds that have them. */
struct environment {
	const char *vars[8];
	char text[5][4200];
	unsigned int count;
};

__attribute__((format(printf, 2, 3))) static void env_add(struct environment *env, const char *fmt,
							   ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(env->text[env->count], sizeof(env->text[0]), fmt, args);
	va_end(args);
	env->vars[env->count] = env->text[env->count];
	env->count++;
}

static void env_init(struct environment *env)
{
	static const char *const passed[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};

	memset(env->vars, 0, sizeof(env->vars));
	env->count = 0;
	env_add(env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	for (unsigned int i = 0; i < ARRAY_SIZE(passed); i++) {
		const char *value = getenv(passed[i]);

		if (value)
			env_add(env, "%s=%s", passed[i], value);
	}
}

/* Starts the plan and watches it. A child that cannot be watched must not run on. */
static int start(struct launch *launch, const struct spawn_plan *plan, pid_t *pid,
		 uint64_t *start_time, struct launch_error *error)
{
	char why[256];
	int err = spawn_process(plan, pid, why, sizeof(why));

	if (err)
		return launch_refuse(error, RPC_HOST_FAILURE, NULL, "%s", why);
	err = children_add(launch, *pid, plan->uid, start_time);
	if (err) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
		return launch_refuse(error, RPC_HOST_FAILURE, NULL, "watching process %d: %s",
				     *pid, strerror(-err));
	}
	log_info("started %s: process %d, uid %u", plan->program, *pid, plan->uid);
	return 0;
}

static int refuse_log(struct launch_error *error, const char *who, int err, const char *why)
{
	return launch_refuse(error, err == -EBUSY ? RPC_EXISTS : RPC_HOST_FAILURE, NULL, "%s: %s",
			     who, why);
}

static int start_switch(struct launch *launch, int log_fd, int control_fd, pid_t *pid,
			uint64_t *start_time, struct launch_error *error)
{
	const struct launch_options *options = &launch->options;
	const char *argv[MAX_WORDS + 8] = {"vswitch", "--control", "fd:3", "--control-uid"};
	unsigned int argc = 4;
	struct environment env;
	static const struct spawn_limit limits[] = {
		{RLIMIT_MEMLOCK, "locked memory", SWITCH_MEMLOCK, 0},
		{RLIMIT_NOFILE, "descriptors", SWITCH_NOFILE, 0},
	};
	struct spawn_plan plan = {
		.dir = options->bin_dir,
		.program = "vswitch",
		.argv = argv,
		.env = env.vars,
		.uid = LAUNCH_SWITCH_UID,
		.fds = &control_fd,
		.fd_count = 1,
		.log_fd = log_fd,
		.limits = limits,
		.limit_count = ARRAY_SIZE(limits),
		.caps = options->switch_caps,
	};
	char *words = strdup(options->switch_args);
	char *state = NULL;
	char uid[16];
	int err;

	if (!words)
		return launch_refuse(error, RPC_HOST_FAILURE, NULL, "out of memory");
	snprintf(uid, sizeof(uid), "%u", options->mgmt_uid);
	argv[argc++] = uid;
	argv[argc++] = "--log-level";
	argv[argc++] = options->log_level;
	for (char *word = strtok_r(words, " ", &state); word && argc < MAX_WORDS + 7;
	     word = strtok_r(NULL, " ", &state))
		argv[argc++] = word;
	env_init(&env);
	env_add(&env, "XDG_RUNTIME_DIR=%s/vswitch/run", options->run_dir);
	err = start(launch, &plan, pid, start_time, error);
	free(words);
	return err;
}

/* For a vmm-mgmt whose predecessor died before it could note whom it had started. */
static void note_switch(const struct launch *launch, pid_t pid, uint64_t start_time)
{
	char why[256] = "writing process: no space";
	int fd = dirs_create_file(&launch->dirs, launch->dirs.vswitch, "process", why, sizeof(why));

	if (fd < 0 || dprintf(fd, "%d %" PRIu64 "\n", pid, start_time) < 0)
		log_warn("the switch's process is not noted: %s", why);
	if (fd >= 0)
		close(fd);
}

int programs_start_switch(struct launch *launch, pid_t *pid, uint64_t *start_time,
			  struct launch_error *error)
{
	char why[256];
	int log_fd, control_fd, err;

	log_fd = dirs_open_log(launch->dirs.vswitch, why, sizeof(why));
	if (log_fd < 0)
		return refuse_log(error, "vswitch", log_fd, why);
	control_fd = dirs_listen(&launch->dirs, launch->dirs.vswitch, "control.sock", why,
				 sizeof(why));
	if (control_fd < 0) {
		close(log_fd);
		return launch_refuse(error, RPC_HOST_FAILURE, NULL, "%s", why);
	}
	err = start_switch(launch, log_fd, control_fd, pid, start_time, error);
	if (!err)
		note_switch(launch, *pid, *start_time);
	close(control_fd);
	close(log_fd);
	return err;
}

/* One vmm to be started. */
struct vm_start {
	uid_t uid;
	struct vm_files *files;
	int log_fd, cgroup;
	const struct vm_limits *limits;
};

/*
 * What setrlimit bounds, also where there is no control group. Threads are counted per uid: the
 * vCPUs', the main one, and the kernel's for io_uring. Address space: shared memory, which the
 * limit of data would miss, can be had without end otherwise.
 */
static unsigned int vm_rlimits(const struct vm_start *start, struct spawn_limit *out)
{
	const struct vm_limits *limits = start->limits;
	/* What it writes to once its RAM is there, which is a file, too: sandbox_prepare. */
	const uint64_t file = MAX(VM_MIN_FSIZE, start->files->largest);
	const struct spawn_limit all[] = {
		{RLIMIT_MEMLOCK, "locked memory", limits->memlock, 0},
		{RLIMIT_NOFILE, "descriptors", limits->nofile, 0},
		{RLIMIT_NPROC, "threads", limits->vcpus + VM_THREADS, 0},
		{RLIMIT_FSIZE, "size of files", MAX(file, limits->memory), file},
		{RLIMIT_MSGQUEUE, "message queues", 0, 0},
		{RLIMIT_NICE, "priority", 0, 0},
		{RLIMIT_RTPRIO, "real-time priority", 0, 0},
#ifndef __SANITIZE_ADDRESS__ /* whose shadow is larger than any limit */
		{RLIMIT_AS, "address space",
		 limits->memory + limits->alignment + VM_OVERHEAD + limits->vcpus * VM_VCPU_SPACE, 0},
#endif
	};

	memcpy(out, all, sizeof(all));
	return ARRAY_SIZE(all);
}

static int start_vm(struct launch *launch, const struct vm_start *vm, pid_t *pid,
		    uint64_t *start_time, struct launch_error *error)
{
	char mgmt_uid[16], root[16];
	const char *argv[] = {"vmm", "--config", "fd:3", "--root", root,
			      "--control-uid", mgmt_uid, "--log-level",
			      launch->options.log_level, NULL};
	struct spawn_limit limits[16];
	struct environment env;
	int fds[SPAWN_MAX_FDS + 1];
	const struct spawn_plan plan = {
		.dir = launch->options.bin_dir,
		.program = "vmm",
		.argv = argv,
		.env = env.vars,
		.uid = vm->uid,
		.fds = fds,
		.fd_count = vm->files->count + 1,
		.log_fd = vm->log_fd,
		.limits = limits,
		.limit_count = vm_rlimits(vm, limits),
		/* To enter its root with, given up before it reads its configuration. */
		.caps = 1ULL << CAP_SYS_ADMIN,
		.namespaces = &vm->files->namespaces,
		.cgroup = vm->cgroup,
	};

	memcpy(fds, vm->files->fds, vm->files->count * sizeof(fds[0]));
	fds[vm->files->count] = vm->files->namespaces.root;
	snprintf(root, sizeof(root), "fd:%u", SPAWN_FIRST_FD + vm->files->count);
	snprintf(mgmt_uid, sizeof(mgmt_uid), "%u", launch->options.mgmt_uid);
	env_init(&env);
	return start(launch, &plan, pid, start_time, error);
}

static int start_vm_in_cgroup(struct launch *launch, const char *id, struct vm_start *vm,
			      pid_t *pid, uint64_t *start_time, struct launch_error *error)
{
	const struct cgroup_limits limits = {
		/* Page tables and KVM's second-level ones grow with RAM. */
		.memory = vm->limits->memory + vm->limits->memory / 64 + VM_OVERHEAD,
		.pids = vm->limits->vcpus + VM_THREADS,
	};
	char why[512];
	int err;

	vm->cgroup = cgroups_create(&launch->cgroups, id, &limits, why, sizeof(why));
	if (vm->cgroup < 0 && vm->cgroup != -ENOENT)
		return launch_refuse(error, RPC_HOST_FAILURE, NULL, "%s", why);
	err = start_vm(launch, vm, pid, start_time, error);
	if (vm->cgroup >= 0)
		close(vm->cgroup);
	if (err)
		cgroups_remove(&launch->cgroups, id);
	return err;
}

int programs_start_vm(struct launch *launch, const char *id, uid_t uid, const json_t *config,
		      const struct vm_limits *limits, pid_t *pid, uint64_t *start_time,
		      struct launch_error *error)
{
	struct vm_files files = {.namespaces.root = -1};
	struct vm_start vm = {.uid = uid, .files = &files, .limits = limits};
	char why[256];
	int dir, err;

	dir = dirs_open_vm(&launch->dirs, id, why, sizeof(why));
	if (dir < 0)
		return launch_refuse(error, dir == -EDQUOT ? RPC_REFUSED : RPC_HOST_FAILURE,
				     dir == -EDQUOT ? "id" : NULL, "%s", why);
	vm.log_fd = dirs_open_log(dir, why, sizeof(why));
	if (vm.log_fd < 0) {
		err = refuse_log(error, id, vm.log_fd, why);
		goto out_dir;
	}
	if (dirs_uid_is_taken(&launch->dirs, uid, id)) {
		err = launch_refuse(error, RPC_REFUSED, "uid", "uid %u: another VM runs under it",
				    uid);
		goto out_log;
	}
	err = dirs_set_uid(&launch->dirs, dir, uid, why, sizeof(why));
	if (err) {
		err = launch_refuse(error, RPC_HOST_FAILURE, NULL, "%s", why);
		goto out_log;
	}
	err = vm_files_open(launch, dir, id, uid, config, &files, error);
	if (!err)
		err = start_vm_in_cgroup(launch, id, &vm, pid, start_time, error);
	vm_files_close(&files);
out_log:
	close(vm.log_fd);
out_dir:
	close(dir);
	return err;
}
