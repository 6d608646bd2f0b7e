/*
 * Starting the two programs: which descriptors, arguments and limits each gets.
 */
#ifndef LAUNCH_PROGRAMS_H
#define LAUNCH_PROGRAMS_H

#include "launch/launch.h"

struct vm_limits {
	uint64_t memlock; /* bytes */
	uint64_t nofile;
	uint64_t memory; /* the guest's RAM, bytes */
	uint64_t alignment; /* of its pages, bytes */
	unsigned int vcpus;
};

/* 0 with pid and start_time, or -EINVAL with error. */
must_check int programs_start_switch(struct launch *launch, pid_t *pid, uint64_t *start_time,
				     struct launch_error *error);
must_check int programs_start_vm(struct launch *launch, const char *id, uid_t uid,
				 const json_t *config, const struct vm_limits *limits, pid_t *pid,
				 uint64_t *start_time, struct launch_error *error);

#endif
