/*
 * Opening what the host has, on behalf of a VM: policy and checks. A VM's files come from an
 * unprivileged client, so root opens nothing for it but regular files and block devices beneath
 * the directories that the operator named.
 */
#ifndef LAUNCH_DEVICES_H
#define LAUNCH_DEVICES_H

#include "launch/launch.h"

enum image_use {
	IMAGE_BOOT,	 /* kernel, initrd, module: a regular file, read */
	IMAGE_READ_ONLY, /* a disk shared with other readers */
	IMAGE_WRITE,	 /* a disk of this VM alone */
};

/*
 * A descriptor, or -EINVAL with error. A disk is locked (open file description lock): the lock
 * goes with the descriptor to the vmm and ends with it.
 */
must_check int devices_open_image(const struct launch_options *options, const char *path,
				  enum image_use use, const char *field,
				  struct launch_error *error);
must_check int devices_open_kvm(struct launch_error *error);

#endif
