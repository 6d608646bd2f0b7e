/*
 * What the parts of vmm-launch share: its options, its way of refusing, and who is who.
 * One thread.
 */
#ifndef LAUNCH_LAUNCH_H
#define LAUNCH_LAUNCH_H

#include <sys/types.h>

#include "core/jsonrpc.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/rpc_server.h"
#include "launch/cgroup.h"
#include "launch/dirs.h"

#define LAUNCH_SWITCH_UID   60998u /* and gid */
#define LAUNCH_MGMT_UID	    60999u /* and gid; --mgmt-uid */
#define LAUNCH_VM_UID_FIRST 61000u /* and gid */
#define LAUNCH_VM_UID_LAST  64999u
#define LAUNCH_MAX_IMAGE_DIRS 16u

struct launch_options {
	const char *run_dir;
	const char *bin_dir; /* where vmm and vswitch are */
	uid_t mgmt_uid;
	const char *log_level; /* handed on */
	const char *image_dirs[LAUNCH_MAX_IMAGE_DIRS]; /* files of VMs must lie beneath one */
	unsigned int image_dir_count;
	const char *switch_args; /* words, separated by blanks; may be empty */
	uint64_t switch_caps;	 /* bit n: capability n (CAP_*) is kept by the switch */
};

/* Why a request is refused, as rpc_fail wants it. */
struct launch_error {
	int code;	/* enum rpc_code */
	char field[64]; /* dotted path; empty: none */
	char why[384];
};

/* Fills error and returns -EINVAL. field may be NULL. */
__attribute__((format(printf, 4, 5))) int launch_refuse(struct launch_error *error, int code,
							 const char *field, const char *fmt, ...);

struct child;

struct launch {
	struct launch_options options;
	struct run_dirs dirs;
	struct cgroups cgroups;
	struct loop *loop;
	struct rpc_server *rpc;
	struct child *children;
};

#endif
