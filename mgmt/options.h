/* vmm-mgmt's command line. */
#ifndef MGMT_OPTIONS_H
#define MGMT_OPTIONS_H

#include <sys/types.h>

#include "core/bits.h"
#include "core/log.h"

/* Leaves room in a socket's address for vms/ID/control.sock and the like. */
#define OPTIONS_RUN_DIR_MAX 56u
#define OPTIONS_MAX_IMAGE_DIRS 16u /* as vmm-launch */

struct options {
	const char *run_dir;
	const char *state_dir;
	char bin_dir[256];
	/* handed on to vmm-launch; NULL: its default */
	const char *switch_args;
	const char *switch_caps;
	const char *image_dirs[OPTIONS_MAX_IMAGE_DIRS + 1]; /* ends with NULL */
	unsigned int n_image_dirs;
	uid_t mgmt_uid;
	unsigned int client_seconds; /* for a whole request to come, and for an answer to be read */
	unsigned int switch_timeout; /* seconds; without an answer for so long it is ended */
	unsigned int spawn_timeout;  /* seconds; whoever starts a VM waits no longer for its process */
	enum log_level log_level;
	const char *log_level_name;
	bool stop_guests; /* on SIGTERM */
};

/* 0: go on. 1: help was printed. -EINVAL: one line was printed about what is wrong. */
must_check int options_parse(struct options *options, int argc, char **argv);

#endif
