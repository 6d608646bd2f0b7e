/*
 * vmm-mgmt: the REST interface and the desired state. Begins as root, ends that as soon as
 * vmm-launch is there and the API's socket is bound.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/json_text.h"
#include "core/log.h"
#include "mgmt/api.h"
#include "mgmt/events.h"
#include "mgmt/http.h"
#include "mgmt/port.h"
#include "mgmt/store.h"
#include "mgmt/supervisor.h"
#include "mgmt/vm.h"
#include "mgmt/vswitch.h"
#include "mgmt/walls.h"

#define LAUNCH_FD 3
#define STOP_GRACE_SECONDS 10u
#define READY_TIMEOUT_MS 60000u /* a predecessor's vmm-launch may be starting a program */
#define LISTEN_BACKLOG 4096 /* or as much as the kernel allows */
/* Some for each of STORE_UID_COUNT VMs, and for HTTP_MAX_CONNECTIONS; vmm-launch inherits it. */
#define DESCRIPTORS 16384u

/* Also the parents. */
static int make_directory(const char *path, mode_t mode)
{
	char part[512];

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;
}

/* Only one of us may serve a directory. The descriptor is kept until we end. */
static int take_lock(const char *path, int flags, const char *dir)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		log_err("cannot open %s: %m", path);
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		log_err("another vmm-mgmt serves %s", dir);
		close(fd);
		return -EBUSY;
	}
	return 0;
}

static int take_locks(const struct options *options)
{
	char path[MGMT_PATH_SIZE];
	int err;

	snprintf(path, sizeof(path), "%s/mgmt.lock", options->run_dir);
	err = take_lock(path, O_RDWR | O_CREAT, options->run_dir);
	if (err)
		return err;
	/* Nobody else may open it, and what is in it is not root's. */
	return take_lock(options->state_dir, O_RDONLY | O_DIRECTORY, options->state_dir);
}

static int set_up_directories(const struct options *options)
{
	int err;

	err = make_directory(options->run_dir, 0755);
	if (err) {
		log_err("cannot make the run directory %s: %s", options->run_dir, strerror(-err));
		return err;
	}
	err = make_directory(options->state_dir, 0700);
	if (!err && chown(options->state_dir, options->mgmt_uid, options->mgmt_uid) < 0)
		err = -errno;
	if (err)
		log_err("cannot make the state directory %s: %s", options->state_dir,
			strerror(-err));
	return err;
}

/* Only for who started us, from the first moment on. The lock says that nobody else listens. */
static int bind_api(const struct options *options)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/api.sock", options->run_dir);
	unlink(addr.sun_path);
	if (fd >= 0 && fchmod(fd, 0600) == 0 &&
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	log_err("cannot listen on %s: %m", addr.sun_path);
	if (fd >= 0)
		close(fd);
	return -EIO;
}

/* Installed side by side, or each in its own folder as the build leaves them. */
static void find_launch(const struct options *options, char *path, size_t size)
{
	snprintf(path, size, "%s/vmm-launch", options->bin_dir);
	if (access(path, X_OK) < 0)
		snprintf(path, size, "%s/launch/vmm-launch", options->bin_dir);
}

static void exec_launch(const struct options *options, int fd)
{
	const char *argv[16 + 2 * OPTIONS_MAX_IMAGE_DIRS] = { "vmm-launch" };
	char uid[16], path[300];
	unsigned int n = 1;
	const char *pairs[][2] = {
		{ "--run-dir", options->run_dir },
		{ "--bin-dir", options->bin_dir },
		{ "--mgmt-uid", uid },
		{ "--log-level", options->log_level_name },
		{ "--switch-args", options->switch_args },
		{ "--switch-caps", options->switch_caps },
	};

	snprintf(uid, sizeof(uid), "%u", options->mgmt_uid);
	find_launch(options, path, sizeof(path));
	for (unsigned int i = 0; i < ARRAY_SIZE(pairs); i++) {
		if (!pairs[i][1])
			continue;
		argv[n++] = pairs[i][0];
		argv[n++] = pairs[i][1];
	}
	for (unsigned int i = 0; i < options->n_image_dirs; i++) {
		argv[n++] = "--image-dir";
		argv[n++] = options->image_dirs[i];
	}
	/* dup2 to itself would keep FD_CLOEXEC. */
	if (fd == LAUNCH_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, LAUNCH_FD) < 0)
		_exit(126);
	setsid(); /* a terminal's Ctrl-C is for us; vmm-launch ends when we have */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	execv(path, (char **)argv);
	log_err("cannot start %s: %m", path);
	_exit(127);
}

/* vmm-mgmt has the locks when a byte comes; if none does, it ended without. */
static void await_release(int fd)
{
	char byte;
	ssize_t n;

	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(0);
}

/* Our end of its socketpair, or -errno. */
static int start_launch(const struct options *options)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		log_err("cannot make the socket of vmm-launch: %m");
		return -EMFILE;
	}
	pid = fork();
	if (pid < 0) {
		log_err("cannot fork: %m");
		close(fds[0]);
		close(fds[1]);
		return -EAGAIN;
	}
	if (!pid) {
		close(fds[0]);
		await_release(fds[1]);
		exec_launch(options, fds[1]);
	}
	close(fds[1]);
	return fds[0];
}

static void on_launch_gone(void *opaque)
{
	struct mgmt *mgmt = opaque;

	log_err("vmm-launch has died; guests and switch run on, start vmm-mgmt again");
	mgmt->exit_status = 1;
	loop_stop(mgmt->loop);
}

static void on_switch_up(void *opaque)
{
	struct mgmt *mgmt = opaque;

	ports_switch_up(mgmt->ports);
	vms_switch_up(mgmt->vms);
}

static void on_switch_down(void *opaque)
{
	struct mgmt *mgmt = opaque;

	ports_switch_down(mgmt->ports);
}

static void on_switch_stopped(void *opaque)
{
	struct mgmt *mgmt = opaque;

	loop_stop(mgmt->loop);
}

static void on_guests_stopped(void *opaque, const struct problem *problem)
{
	struct mgmt *mgmt = opaque;

	vswitch_stop(mgmt->vswitch, on_switch_stopped, mgmt);
}

static void stop_guests(struct mgmt *mgmt)
{
	log_info("stopping all guests and the switch");
	vms_stop_all(mgmt->vms, STOP_GRACE_SECONDS, on_guests_stopped, mgmt);
}

static void on_terminate(void *opaque)
{
	struct mgmt *mgmt = opaque;

	/* The second one does not wait. */
	if (!mgmt->options->stop_guests || mgmt->ending) {
		loop_stop(mgmt->loop);
		return;
	}
	mgmt->ending = true;
	if (mgmt->http)
		stop_guests(mgmt);
	/* else on_launch_ready does, when it has found them */
}

/*
 * Only now: a predecessor's vmm-launch may still have been at work on a last request, and what it
 * started would be taken for absent.
 */
static void on_launch_ready(void *opaque, int code, const char *message, const json_t *data,
			    const json_t *result)
{
	struct mgmt *mgmt = opaque;

	if (code == RPC_DISCONNECTED)
		return; /* on_launch_gone */
	if (code) {
		log_err("vmm-launch is not ready: %s", message);
		mgmt->exit_status = 1;
		loop_stop(mgmt->loop);
		return;
	}
	/* VMs first: their ports are known by the time the switch answers. */
	if (vms_reconcile(mgmt->vms) == 0) {
		vswitch_start(mgmt->vswitch);
		mgmt->http = http_create(mgmt, mgmt->api_fd, api_routes);
	}
	if (!mgmt->http) {
		mgmt->exit_status = 1;
		loop_stop(mgmt->loop);
		return;
	}
	log_info("serving %s/api.sock", mgmt->options->run_dir);
	if (mgmt->ending)
		stop_guests(mgmt);
}

static int mgmt_open_store(struct mgmt *mgmt)
{
	char path[512];
	int err;

	snprintf(path, sizeof(path), "%s/vmm.db", mgmt->options->state_dir);
	err = store_open(path, &mgmt->store);
	return err ? err : process_boot_id(mgmt->boot_id);
}

static int mgmt_create(struct mgmt *mgmt, int launch_fd)
{
	struct vswitch_events events = { on_switch_up, on_switch_down, mgmt };

	json_text_watch();
	mgmt->loop = loop_create();
	mgmt->events = events_create();
	if (!mgmt->loop || !mgmt->events)
		return -ENOMEM;
	mgmt->supervisor = supervisor_create(mgmt->loop, launch_fd, on_launch_gone, mgmt);
	mgmt->vswitch = vswitch_create(mgmt, &events);
	mgmt->ports = ports_create(mgmt);
	mgmt->vms = vms_create(mgmt);
	if (!mgmt->supervisor || !mgmt->vswitch || !mgmt->ports || !mgmt->vms)
		return -ENOMEM;
	if (mgmt_open_store(mgmt) < 0 || ports_load(mgmt->ports) < 0 || vms_load(mgmt->vms) < 0)
		return -EIO;
	return 0;
}

static void mgmt_destroy(struct mgmt *mgmt)
{
	rpc_ask_silence();
	http_destroy(mgmt->http);
	vms_destroy(mgmt->vms);
	vswitch_destroy(mgmt->vswitch);
	ports_destroy(mgmt->ports);
	supervisor_destroy(mgmt->supervisor);
	events_destroy(mgmt->events);
	store_close(mgmt->store);
	if (mgmt->loop)
		loop_destroy(mgmt->loop);
}

static int mgmt_run(struct mgmt *mgmt)
{
	struct loop_signal *term = loop_signal_add(mgmt->loop, SIGTERM, on_terminate, mgmt);
	struct loop_signal *interrupt = loop_signal_add(mgmt->loop, SIGINT, on_terminate, mgmt);
	int err = -ENOMEM;

	if (term && interrupt) {
		supervisor_call(mgmt->supervisor, "launch.ready", NULL, READY_TIMEOUT_MS,
				on_launch_ready, mgmt);
		err = loop_run(mgmt->loop);
	}
	loop_signal_remove(term);
	loop_signal_remove(interrupt);
	return err;
}

/* As many as the operator's hard limit lets us have. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, DESCRIPTORS);
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == DESCRIPTORS)
		return;
	log_warn("limit of descriptors: %u wanted, %llu is all there is; with thousands of VMs "
		 "they will run out (ulimit -Hn, LimitNOFILE=)",
		 DESCRIPTORS, (unsigned long long)limit.rlim_cur);
}

/* What has to be done as root; the two descriptors are what remains of it. */
static int begin_as_root(const struct options *options, int *launch_fd, int *api_fd)
{
	if (geteuid() != 0) {
		log_err("start me as root: vmm-launch needs it; I do not keep it");
		return -EPERM;
	}
	if (set_up_directories(options) < 0)
		return -EIO;
	raise_descriptor_limit();
	/* Before the locks: or, should we die now, it would have them for the moment it lives. */
	*launch_fd = start_launch(options);
	if (*launch_fd < 0)
		return *launch_fd;
	if (take_locks(options) < 0)
		return -EBUSY;
	if (write(*launch_fd, "", 1) != 1) {
		log_err("cannot let vmm-launch begin: %m");
		return -EPIPE;
	}
	*api_fd = bind_api(options);
	if (*api_fd < 0)
		return *api_fd;
	return walls_leave_root(options->mgmt_uid);
}

int main(int argc, char **argv)
{
	struct options options;
	struct mgmt mgmt = { .options = &options };
	int launch_fd, ret;

	log_init("vmm-mgmt", LOG_LEVEL_INFO);
	ret = options_parse(&options, argc, argv);
	if (ret)
		return ret > 0 ? 0 : 2;
	log_init("vmm-mgmt", options.log_level);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN); /* vmm-launch is our only child; its socket tells of its end */
	umask(0022); /* vmm-launch inherits it */
	if (begin_as_root(&options, &launch_fd, &mgmt.api_fd) < 0)
		return 1;
	umask(0077);
	/* Behind the walls there is neither /etc/localtime nor /dev/urandom. */
	tzset();
	json_object_seed(0);
	ret = mgmt_create(&mgmt, launch_fd);
	if (!ret)
		ret = walls_raise(&options);
	if (!ret)
		ret = mgmt_run(&mgmt);
	if (ret < 0)
		log_err("it cannot go on: %s", strerror(-ret));
	mgmt_destroy(&mgmt);
	return ret < 0 ? 1 : mgmt.exit_status;
}
