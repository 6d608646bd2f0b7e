#include "mgmt/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"usage: vmm-mgmt [OPTION]...\n"
	"\n"
	"The management daemon of the appliance: serves REST on RUN/api.sock, keeps the switch\n"
	"and the VMs as the store says. Start it as root: it starts vmm-launch, which stays root,\n"
	"and then becomes an ordinary user itself. It runs in the foreground.\n"
	"\n"
	"  --run-dir DIR      sockets and run-time files (default /run/vmm); 56 bytes at most\n"
	"  --state-dir DIR    the store (default /var/lib/vmm)\n"
	"  --bin-dir DIR      where vmm-launch, vmm and vswitch are (default: where vmm-mgmt is)\n"
	"  --mgmt-uid N       the user and group to become (default 60999)\n"
	"  --image-dir DIR    VMs' kernels, initrds and disks must lie beneath it; may be given\n"
	"                     up to 16 times (default /var/lib/vmm/images)\n"
	"  --switch-args ARGS more arguments for vswitch, separated by blanks, such as\n"
	"                     --uplink up0=net_tap0,iface=up0\n"
	"  --switch-caps LIST capabilities vswitch has until its uplinks are plugged in, of\n"
	"                     net_admin and net_raw, separated by commas (for tap and af_packet;\n"
	"                     default none)\n"
	"  --stop-guests      on SIGTERM stop all guests and the switch first; without it they\n"
	"                     run on, and the next vmm-mgmt takes them over\n"
	"  --client-seconds N close a connection that has not sent a whole request, or not read\n"
	"                     its answer, within N seconds, 1 to 3600 (default 60)\n"
	"  --switch-timeout N end and restart a switch that has not answered for N seconds, 1 to\n"
	"                     3600 (default 30)\n"
	"  --spawn-timeout N  a VM's start fails when vmm-launch has not spawned it within N\n"
	"                     seconds, 1 to 3600 (default 60); should it still do so, it is ended\n"
	"  --log-level LEVEL  error, warning, info (default) or debug\n"
	"  --help             this text\n"
	"\n"
	"SIGTERM and SIGINT end it. POST /v1/host/stop-guests stops all guests at any time.\n";

enum {
	OPT_RUN_DIR = 256,
	OPT_STATE_DIR,
	OPT_BIN_DIR,
	OPT_MGMT_UID,
	OPT_SWITCH_ARGS,
	OPT_SWITCH_CAPS,
	OPT_IMAGE_DIR,
	OPT_STOP_GUESTS,
	OPT_CLIENT_SECONDS,
	OPT_SWITCH_TIMEOUT,
	OPT_SPAWN_TIMEOUT,
	OPT_LOG_LEVEL,
	OPT_HELP,
};

static const struct option long_options[] = {
	{ "run-dir", required_argument, NULL, OPT_RUN_DIR },
	{ "state-dir", required_argument, NULL, OPT_STATE_DIR },
	{ "bin-dir", required_argument, NULL, OPT_BIN_DIR },
	{ "mgmt-uid", required_argument, NULL, OPT_MGMT_UID },
	{ "switch-args", required_argument, NULL, OPT_SWITCH_ARGS },
	{ "switch-caps", required_argument, NULL, OPT_SWITCH_CAPS },
	{ "image-dir", required_argument, NULL, OPT_IMAGE_DIR },
	{ "stop-guests", no_argument, NULL, OPT_STOP_GUESTS },
	{ "client-seconds", required_argument, NULL, OPT_CLIENT_SECONDS },
	{ "switch-timeout", required_argument, NULL, OPT_SWITCH_TIMEOUT },
	{ "spawn-timeout", required_argument, NULL, OPT_SPAWN_TIMEOUT },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

/* From 1. */
static int parse_number(const char *text, unsigned int max, unsigned int *number)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || n < 1 || n > max)
		return -EINVAL;
	*number = (unsigned int)n;
	return 0;
}

/* The folder of our own program. */
static int own_folder(char *dir, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", dir, size - 1);
	char *slash;

	if (n < 0)
		return -errno;
	dir[n] = '\0';
	slash = strrchr(dir, '/');
	if (!slash)
		return -EINVAL;
	*slash = '\0';
	return 0;
}

/* In a build folder each program is in a folder of its own; what is meant is the one above. */
static int default_bin_dir(char *dir, size_t size)
{
	int err = own_folder(dir, size);
	char path[300], *slash;

	snprintf(path, sizeof(path), "%s/vmm-launch", dir);
	slash = err ? NULL : strrchr(dir, '/');
	if (!slash || access(path, X_OK) == 0)
		return err;
	snprintf(path, sizeof(path), "%.*s/launch/vmm-launch", (int)(slash - dir), dir);
	if (access(path, X_OK) == 0)
		*slash = '\0';
	return 0;
}

static int refuse(const char *option, const char *found, const char *allowed)
{
	fprintf(stderr, "vmm-mgmt: %s: found \"%s\"; allowed: %s\n", option, found, allowed);
	return -EINVAL;
}

static int options_take_number(struct options *options, int opt, const char *arg)
{
	switch (opt) {
	case OPT_MGMT_UID:
		return parse_number(arg, 0x7fffffff, &options->mgmt_uid) < 0 ?
			       refuse("--mgmt-uid", arg, "a number from 1") : 0;
	case OPT_CLIENT_SECONDS:
		return parse_number(arg, 3600, &options->client_seconds) < 0 ?
			       refuse("--client-seconds", arg, "a number from 1 to 3600") : 0;
	case OPT_SWITCH_TIMEOUT:
		return parse_number(arg, 3600, &options->switch_timeout) < 0 ?
			       refuse("--switch-timeout", arg, "a number from 1 to 3600") : 0;
	case OPT_SPAWN_TIMEOUT:
		return parse_number(arg, 3600, &options->spawn_timeout) < 0 ?
			       refuse("--spawn-timeout", arg, "a number from 1 to 3600") : 0;
	default:
		fputs("vmm-mgmt: see vmm-mgmt --help\n", stderr);
		return -EINVAL;
	}
}

static int options_take(struct options *options, int opt, const char *arg)
{
	switch (opt) {
	case OPT_RUN_DIR:
		options->run_dir = arg;
		if (arg[0] != '/' || strlen(arg) > OPTIONS_RUN_DIR_MAX)
			return refuse("--run-dir", arg,
				      "an absolute path of 56 bytes at most");
		return 0;
	case OPT_STATE_DIR:
		options->state_dir = arg;
		return arg[0] == '/' ? 0 : refuse("--state-dir", arg, "an absolute path");
	case OPT_BIN_DIR:
		snprintf(options->bin_dir, sizeof(options->bin_dir), "%s", arg);
		return arg[0] == '/' ? 0 : refuse("--bin-dir", arg, "an absolute path");
	case OPT_SWITCH_ARGS:
		options->switch_args = arg;
		return 0;
	case OPT_SWITCH_CAPS:
		options->switch_caps = arg;
		return 0;
	case OPT_IMAGE_DIR:
		if (arg[0] != '/' || options->n_image_dirs == OPTIONS_MAX_IMAGE_DIRS)
			return refuse("--image-dir", arg, "an absolute path, 16 times at most");
		options->image_dirs[options->n_image_dirs++] = arg;
		return 0;
	case OPT_STOP_GUESTS:
		options->stop_guests = true;
		return 0;
	case OPT_LOG_LEVEL:
		options->log_level_name = arg;
		return log_level_parse(arg, &options->log_level) < 0 ?
			       refuse("--log-level", arg, "error, warning, info, debug") : 0;
	case OPT_HELP:
		fputs(help, stdout);
		return 1;
	default:
		return options_take_number(options, opt, arg);
	}
}

int options_parse(struct options *options, int argc, char **argv)
{
	int opt, ret;

	*options = (struct options){
		.run_dir = "/run/vmm",
		.state_dir = "/var/lib/vmm",
		.mgmt_uid = 60999,
		.client_seconds = 60,
		.switch_timeout = 30,
		.spawn_timeout = 60,
		.log_level = LOG_LEVEL_INFO,
		.log_level_name = "info",
	};
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		ret = options_take(options, opt, optarg);
		if (ret)
			return ret;
	}
	if (optind < argc)
		return refuse("arguments", argv[optind], "none");
	if (!options->bin_dir[0] && default_bin_dir(options->bin_dir, sizeof(options->bin_dir)) < 0)
		return refuse("--bin-dir", "", "a folder must be named, ours cannot be found");
	return 0;
}
