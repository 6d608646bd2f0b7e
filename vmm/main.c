/*
 * vmm: one guest, one process. The main thread is the io thread of everything below.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/log.h"
#include "vmm/control.h"
#include "vmm/help.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"
#include "vmm/vm_config.h"

#define STATUS_USAGE 2 /* the same for a bad configuration: exit_record.c */
#define DEFAULT_GRACE_S 30u

struct options {
	struct config_file config, control, root;
	uid_t control_uid;
	unsigned int grace_s;
	enum log_level level;
};

struct program {
	struct options options;
	struct loop *loop;
	struct vm *vm;
	struct control *control;
	struct loop_timer *grace;
	struct loop_signal *sigterm, *sigint;
	struct loop_signal *sighup; /* NULL: ignored, as nohup wants it */
	bool terminating;
};

static int usage_error(const char *option, const char *found, const char *allowed)
{
	fprintf(stderr, "vmm: %s: found %s; allowed: %s (see vmm --help)\n", option, found,
		allowed);
	return -EINVAL;
}

static int parse_number(const char *option, const char *text, unsigned int max,
			unsigned int *number)
{
	char *end, allowed[48];
	unsigned long v = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || v > max) {
		snprintf(allowed, sizeof(allowed), "a number from 0 to %u", max);
		return usage_error(option, text, allowed);
	}
	*number = (unsigned int)v;
	return 0;
}

static int parse_file(const char *option, const char *text, struct config_file *file)
{
	if (config_file_parse(text, file) < 0)
		return usage_error(option, text, "a path, or fd:N");
	return 0;
}

/* 0: go on; 1: done (--help); -EINVAL: said. */
static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"control", required_argument, NULL, 's'},
		{"control-uid", required_argument, NULL, 'u'},
		{"grace", required_argument, NULL, 'g'},
		{"root", required_argument, NULL, 'r'},
		{"log-level", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{NULL},
	};
	int c, ret = 0;

	while (!ret && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			ret = parse_file("--config", optarg, &options->config);
			break;
		case 's':
			ret = parse_file("--control", optarg, &options->control);
			break;
		case 'r':
			ret = parse_file("--root", optarg, &options->root);
			break;
		case 'g':
			ret = parse_number("--grace", optarg, 3600, &options->grace_s);
			break;
		case 'u':
			ret = parse_number("--control-uid", optarg, UINT_MAX - 1,
					   &options->control_uid);
			break;
		case 'l':
			if (log_level_parse(optarg, &options->level) < 0)
				ret = usage_error("--log-level", optarg,
						  "error, warning, info, debug");
			break;
		case 'h':
			fputs(help_text, stdout);
			return 1;
		default:
			return -EINVAL; /* getopt has said it */
		}
	}
	if (ret < 0)
		return ret;
	if (optind < argc)
		return usage_error("arguments", argv[optind], "options only");
	if (!config_file_given(&options->config) && !config_file_given(&options->control))
		return usage_error("--config, --control", "neither", "one of them, or both");
	return 0;
}

static void grace_over(void *opaque)
{
	struct program *p = opaque;

	vm_finish(p->vm, EXIT_SIGNAL, 0, "the guest did not power off within %u s of the signal",
		  p->options.grace_s);
}

/* The first signal presses the guest's power button, the second one pulls the plug. */
static void terminated(void *opaque)
{
	struct program *p = opaque;

	if (p->terminating || vm_state(p->vm) != VM_RUNNING || !p->options.grace_s) {
		vm_finish(p->vm, EXIT_SIGNAL, 0, "stopped by a signal");
		return;
	}
	p->terminating = true;
	log_info("signal: the guest has %u s to power off", p->options.grace_s);
	vm_press_power_button(p->vm);
	if (loop_timer_arm(p->grace, p->options.grace_s * 1000000000ULL) < 0)
		vm_finish(p->vm, EXIT_SIGNAL, 0, "stopped by a signal");
}

static int configure(struct program *p)
{
	struct machine_error error = {.config = true};
	struct vm_config *config;

	if (vm_config_load(&p->options.config, &config, error.why, sizeof(error.why)) < 0) {
		vm_finish(p->vm, EXIT_CONFIG, 0, "%s: %s",
			  p->options.config.path ? p->options.config.path : "--config", error.why);
		return -EINVAL;
	}
	if (vm_configure(p->vm, config, &error) < 0) {
		vm_config_free(config);
		vm_finish(p->vm, EXIT_CONFIG, 0, "%s", error.why);
		return -EINVAL;
	}
	if (!config_file_given(&p->options.control))
		p->options.control = config->control;
	return 0;
}

static int start(struct program *p)
{
	struct machine_error error = {0};

	if (vm_start(p->vm, &error) < 0) {
		vm_finish(p->vm, error.config ? EXIT_CONFIG : EXIT_HOST_FAILURE, 0, "%s",
			  error.why);
		return -EINVAL;
	}
	return 0;
}

static bool is_ignored(int signo)
{
	struct sigaction action;

	return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int init(struct program *p)
{
	bool no_hup = is_ignored(SIGHUP);

	p->loop = loop_create();
	if (!p->loop)
		return -ENOMEM;
	p->vm = vm_create(p->loop);
	p->grace = loop_timer_create(p->loop, grace_over, p);
	p->sigterm = loop_signal_add(p->loop, SIGTERM, terminated, p);
	p->sigint = loop_signal_add(p->loop, SIGINT, terminated, p);
	p->sighup = no_hup ? NULL : loop_signal_add(p->loop, SIGHUP, terminated, p);
	return p->vm && p->grace && p->sigterm && p->sigint && (p->sighup || no_hup) ? 0 : -ENOMEM;
}

static void fini(struct program *p)
{
	control_destroy(p->control);
	vm_destroy(p->vm);
	loop_signal_remove(p->sigterm);
	loop_signal_remove(p->sigint);
	loop_signal_remove(p->sighup);
	loop_timer_destroy(p->grace);
	if (p->loop)
		loop_destroy(p->loop);
}

/* Everything from the options to the end of the guest; the process's status. */
static int run(struct program *p)
{
	bool from_file = config_file_given(&p->options.config);

	if (init(p) < 0) {
		log_err("out of memory or descriptors at start");
		return exit_reason_status(EXIT_HOST_FAILURE, 0);
	}
	if (from_file && configure(p) < 0)
		return vm_exit_status(p->vm);
	if (config_file_given(&p->options.control) &&
	    control_create(p->loop, p->vm, &p->options.control, p->options.control_uid,
			   &p->control) < 0) {
		vm_finish(p->vm, EXIT_HOST_FAILURE, 0, "the control socket cannot be served");
		return vm_exit_status(p->vm);
	}
	if (from_file && start(p) < 0)
		return vm_exit_status(p->vm);
	if (loop_run(p->loop) < 0)
		vm_finish(p->vm, EXIT_HOST_FAILURE, 0, "the event loop failed");
	return vm_exit_status(p->vm);
}

static int enter_root(const struct config_file *file)
{
	/* The very descriptor we were given, not a copy: none stays. */
	int fd = file->path ? config_file_open(file, O_PATH | O_DIRECTORY) : file->fd;

	if (fd < 0) {
		log_err("--root: %s", strerror(-fd));
		return fd;
	}
	return sandbox_enter_root(fd);
}

int main(int argc, char **argv)
{
	struct program p = {
		.options = {
			.config = CONFIG_NO_FILE,
			.control = CONFIG_NO_FILE,
			.root = CONFIG_NO_FILE,
			.control_uid = geteuid(),
			.grace_s = DEFAULT_GRACE_S,
			.level = LOG_LEVEL_INFO,
		},
	};
	int ret;

	ret = parse_options(argc, argv, &p.options);
	if (ret)
		return ret < 0 ? STATUS_USAGE : 0;
	log_init("vmm", p.options.level);
	sandbox_prepare();
	if (config_file_given(&p.options.root) && enter_root(&p.options.root) < 0)
		return exit_reason_status(EXIT_HOST_FAILURE, 0);
	/* vCPU threads allocate next to nothing: one arena is enough, and small. */
	mallopt(M_ARENA_MAX, 1);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* of vmm-launch's limit; EFBIG says it */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		log_warn("no_new_privs is not set: %s", strerror(errno));
	ret = run(&p);
	fini(&p);
	return ret;
}
