/*
 * vmm-launch: the one privileged program. It is started by vmm-mgmt, which then drops its own
 * privileges, and serves JSON-RPC on their socketpair, descriptor 3. It ends with vmm-mgmt; what
 * it has started lives on.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/children.h"
#include "launch/methods.h"
#include "launch/walls.h"

#define TURN_POLL_MS 5
#define RPC_FD	     3
#define STATUS_USAGE 2

static const char help_text[] =
	"usage: vmm-launch [options], with a connected Unix socket as descriptor 3\n"
	"\n"
	"Started by vmm-mgmt, as root. Opens devices and files and starts vmm and vswitch, each\n"
	"under a uid of its own and without capabilities, at the request of its client: JSON-RPC\n"
	"2.0, one message a line, methods switch.spawn, vm.spawn, vm.release, port.prepare,\n"
	"port.release, process.kill; notification process.exited.\n"
	"\n"
	"  --run-dir DIR       sockets, logs, exit records; default /run/vmm\n"
	"  --bin-dir DIR       where vmm and vswitch are; default: where vmm-launch is\n"
	"  --mgmt-uid N        uid and gid of vmm-mgmt; default 60999\n"
	"  --image-dir DIR     VMs' kernels, initrds and disks must lie beneath it; may be given\n"
	"                      up to 16 times; default /var/lib/vmm/images\n"
	"  --switch-args ARGS  appended to vswitch's command line; words separated by blanks\n"
	"  --switch-caps LIST  capabilities vswitch has until its uplinks are plugged in, of\n"
	"                      net_admin and net_raw, separated by commas (for tap and\n"
	"                      af_packet); default none\n"
	"  --log-level LEVEL   error, warning, info (default) or debug; also theirs\n"
	"  --help              this text\n";

static int usage_error(const char *option, const char *found, const char *allowed)
{
	fprintf(stderr, "vmm-launch: %s: found %s; allowed: %s (see vmm-launch --help)\n", option,
		found, allowed);
	return -EINVAL;
}

static int parse_uid(const char *text, uid_t *uid)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	/* Not root's, not the switch's, not a VM's. */
	if (*text < '0' || *text > '9' || *end || !v || v > 0x7fffffff ||
	    v == LAUNCH_SWITCH_UID || (v >= LAUNCH_VM_UID_FIRST && v <= LAUNCH_VM_UID_LAST))
		return usage_error("--mgmt-uid", text,
				   "a number above 0, not 60998, not 61000 to 64999");
	*uid = (uid_t)v;
	return 0;
}

static int parse_caps(const char *text, uint64_t *caps)
{
	static const struct {
		const char *name;
		unsigned int bit;
	} known[] = {{"net_admin", 12}, {"net_raw", 13}}; /* linux/capability.h */

	while (*text) {
		size_t len = strcspn(text, ",");
		unsigned int i = 0;

		while (i < ARRAY_SIZE(known) &&
		       (strlen(known[i].name) != len || strncmp(known[i].name, text, len)))
			i++;
		if (i == ARRAY_SIZE(known))
			return usage_error("--switch-caps", text, "net_admin, net_raw");
		*caps |= 1ULL << known[i].bit;
		text += len + (text[len] == ',');
	}
	return 0;
}

static int add_image_dir(struct launch_options *o, const char *dir)
{
	if (dir[0] != '/')
		return usage_error("--image-dir", dir, "an absolute path");
	if (o->image_dir_count == LAUNCH_MAX_IMAGE_DIRS)
		return usage_error("--image-dir", dir, "at most 16 of them");
	o->image_dirs[o->image_dir_count++] = dir;
	return 0;
}

static int parse_option(struct launch_options *o, int c, enum log_level *level)
{
	switch (c) {
	case 'r':
		o->run_dir = optarg;
		return optarg[0] == '/' ? 0 : usage_error("--run-dir", optarg, "an absolute path");
	case 'b':
		o->bin_dir = optarg;
		return 0;
	case 'm':
		return parse_uid(optarg, &o->mgmt_uid);
	case 'i':
		return add_image_dir(o, optarg);
	case 'a':
		o->switch_args = optarg;
		return 0;
	case 'c':
		return parse_caps(optarg, &o->switch_caps);
	case 'l':
		o->log_level = optarg;
		return log_level_parse(optarg, level) == 0 ?
			       0 :
			       usage_error("--log-level", optarg, "error, warning, info, debug");
	case 'h':
		fputs(help_text, stdout);
		return 1;
	default:
		return -EINVAL; /* getopt has said it */
	}
}

/* 0: go on; 1: done (--help); -EINVAL: said. */
static int parse_options(int argc, char **argv, struct launch_options *o, enum log_level *level)
{
	static const struct option longs[] = {
		{"run-dir", required_argument, NULL, 'r'},
		{"bin-dir", required_argument, NULL, 'b'},
		{"mgmt-uid", required_argument, NULL, 'm'},
		{"image-dir", required_argument, NULL, 'i'},
		{"switch-args", required_argument, NULL, 'a'},
		{"switch-caps", required_argument, NULL, 'c'},
		{"log-level", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{NULL},
	};
	int c, ret = 0;

	while (!ret && (c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		ret = parse_option(o, c, level);
	if (ret)
		return ret;
	if (optind < argc)
		return usage_error("arguments", argv[optind], "options only");
	if (!o->image_dir_count)
		o->image_dirs[o->image_dir_count++] = "/var/lib/vmm/images";
	return 0;
}

/* The directory this program was started from. */
static const char *own_dir(char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	if (n <= 0)
		return "/usr/sbin";
	buf[n] = '\0';
	slash = strrchr(buf, '/');
	if (slash)
		*slash = '\0';
	return buf;
}

static void client_gone(void *opaque)
{
	struct launch *launch = opaque;

	log_info("vmm-mgmt is gone; what runs goes on");
	loop_stop(launch->loop);
}

static int check_surroundings(void)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (geteuid() != 0) {
		log_err("started by uid %u; it must be root", geteuid());
		return -EPERM;
	}
	if (getsockopt(RPC_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
		log_err("descriptor %d is no stream socket; vmm-launch is started by vmm-mgmt",
			RPC_FD);
		return -ENOTSOCK;
	}
	return 0;
}

/*
 * What a predecessor leaves must be there before we answer our first request; it ends by itself.
 * So do we if our own vmm-mgmt goes meanwhile: the lock may be a successor's, and for long. 1: it
 * is our turn.
 */
static int await_turn(struct launch *launch)
{
	struct pollfd client = {.fd = RPC_FD, .events = POLLRDHUP};
	int err;

	while ((err = dirs_lock(&launch->dirs)) == -EWOULDBLOCK) {
		if (poll(&client, 1, TURN_POLL_MS) > 0) {
			log_info("vmm-mgmt is gone before its turn came");
			return 0;
		}
	}
	if (err) {
		log_err("locking %s: %s", launch->options.run_dir, strerror(-err));
		return err;
	}
	return 1;
}

static int run(struct launch *launch)
{
	const struct rpc_server_config config = {
		.listen_fd = -1,
		.connected_fd = RPC_FD,
		.allowed_uid = launch->options.mgmt_uid,
		.methods = launch_methods,
		.gone = client_gone,
		.opaque = launch,
	};
	char why[256];
	int err;

	err = walls_raise(launch->options.switch_caps);
	if (err)
		return err;
	err = dirs_init(&launch->dirs, launch->options.run_dir, launch->options.mgmt_uid, why,
			sizeof(why));
	if (err) {
		log_err("%s", why);
		return err;
	}
	err = await_turn(launch);
	if (err <= 0)
		return err;
	cgroups_init(&launch->cgroups, launch->options.run_dir);
	launch->loop = loop_create();
	if (!launch->loop)
		return -ENOMEM;
	err = rpc_server_create(launch->loop, &config, &launch->rpc);
	if (!err) {
		err = loop_run(launch->loop);
		children_forget(launch);
		rpc_server_destroy(launch->rpc);
	}
	loop_destroy(launch->loop);
	return err;
}

int main(int argc, char **argv)
{
	enum log_level level = LOG_LEVEL_INFO;
	char own[4096];
	struct launch launch = {
		.options = {
			.run_dir = "/run/vmm",
			.bin_dir = own_dir(own, sizeof(own)),
			.mgmt_uid = LAUNCH_MGMT_UID,
			.log_level = "info",
			.switch_args = "",
		},
	};
	int ret = parse_options(argc, argv, &launch.options, &level);

	if (ret)
		return ret < 0 ? STATUS_USAGE : 0;
	log_init("vmm-launch", level);
	umask(077);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, children reap themselves */
	/* An interrupt from vmm-mgmt's terminal is vmm-mgmt's to act on. */
	setsid();
	if (check_surroundings() < 0)
		return STATUS_USAGE;
	return run(&launch) < 0 ? 1 : 0;
}
