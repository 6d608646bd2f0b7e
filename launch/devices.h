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

/* A descriptor, or -EINVAL with error. */
must_check int devices_open_image(const struct launch_options *options, const char *path,
				  enum image_use use, const char *field,
				  struct launch_error *error);
/*
 * Locks the disk opened as fd, for this use. The lock is a descriptor of its own, or -EINVAL with
 * error: it goes to the vmm, which knows nothing of it, and ends with it, at once. One on the disk's
 * own descriptor would not: io_uring lets go of files a while after its process has ended.
 */
must_check int devices_lock_disk(int fd, const char *path, enum image_use use, const char *field,
				 struct launch_error *error);
must_check int devices_open_kvm(struct launch_error *error);

#endif
