/*
 * A vmm opens nothing by itself: every file its configuration names is opened here and replaced
 * by "fd:N", and the configuration itself becomes a sealed memfd.
 */
#ifndef LAUNCH_VM_FILES_H
#define LAUNCH_VM_FILES_H

#include "launch/launch.h"
#include "launch/namespaces.h"
#include "launch/spawn.h"

/* Descriptors in the order of their numbers in the child; fds[0] is the configuration. */
struct vm_files {
	int fds[SPAWN_MAX_FDS];
	unsigned int count;
	struct namespaces namespaces; /* with the directories of its ports */
	uint64_t largest; /* bytes: of the files it may write to */
};

/*
 * config: as the client sent it. dir: RUN/vms/ID. uid: also the group its ports belong to. 0, or
 * -EINVAL with error; in both cases vm_files_close closes what was opened.
 */
must_check int vm_files_open(const struct launch *launch, int dir, const char *id, uid_t uid,
			     const json_t *config, struct vm_files *files,
			     struct launch_error *error);
void vm_files_close(struct vm_files *files);

#endif
