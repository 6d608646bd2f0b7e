/*
 * The run directory and what is in it. Every directory in which root creates something belongs to
 * root, so that no unprivileged process can put a symlink in its way; who may pass is the group.
 *
 *	RUN/vswitch/            root:mgmt 0751      control.sock (mgmt 0600), log, run/ (switch 0700),
 *	                                            process (root:mgmt 0640: its pid and start time)
 *	RUN/vms/ID/             root:mgmt 0750      control.sock, console.sock (mgmt 0600), exit.json, log,
 *	                                            uid (the VM's, 0000: its owner says whose ID is)
 *	RUN/ports/ID/           switch:VM 2750      sock, bound by the switch with mode 0660
 *
 * Functions return 0, a descriptor, or -errno with a line in `why`.
 */
#ifndef LAUNCH_DIRS_H
#define LAUNCH_DIRS_H

#include <sys/types.h>

#include "core/bits.h"

struct run_dirs {
	uid_t mgmt_uid;
	int vswitch, vms, ports; /* descriptors of the directories */
};

/* [a-z0-9-]{1,32} */
bool dirs_vm_id_ok(const char *id);
/* [a-z0-9.-]{1,65}, not beginning with a dot */
bool dirs_port_id_ok(const char *id);

must_check int dirs_init(struct run_dirs *dirs, const char *run_dir, uid_t mgmt_uid, char *why,
			 size_t why_size);
/*
 * One vmm-launch at a time, until it ends. -EWOULDBLOCK: another is still at work, perhaps on the
 * last request of a vmm-mgmt that died.
 */
must_check int dirs_lock(const struct run_dirs *dirs);

#define DIRS_MAX 1024u /* VMs, and as many ports: what a client can have made */

/* RUN/vms/ID, made when it is not there. -EDQUOT: there are too many. */
must_check int dirs_open_vm(const struct run_dirs *dirs, const char *id, char *why,
			    size_t why_size);
/* -EBUSY: its vmm lives. -ENOENT: not there. */
must_check int dirs_release_vm(const struct run_dirs *dirs, const char *id, char *why,
			       size_t why_size);

/* Notes whose this VM directory is. */
must_check int dirs_set_uid(const struct run_dirs *dirs, int dir, uid_t uid, char *why,
			    size_t why_size);
/* Whether a VM of this uid was started in our run directory, by us or an earlier vmm-launch. */
bool dirs_know_uid(const struct run_dirs *dirs, uid_t uid);
/* Whether one other than ID lives. */
bool dirs_uid_is_taken(const struct run_dirs *dirs, uid_t uid, const char *id);

must_check int dirs_prepare_port(const struct run_dirs *dirs, const char *id, gid_t gid,
				 char *why, size_t why_size);
/* RUN/ports/ID, if it was prepared for this group. -EPERM: for another. */
must_check int dirs_open_port(const struct run_dirs *dirs, const char *id, gid_t gid);
must_check int dirs_release_port(const struct run_dirs *dirs, const char *id, char *why,
				 size_t why_size);

/*
 * `log` in a directory, for appending, with a lock that lasts as long as any process has this
 * descriptor, i.e. as long as the program whose standard error it becomes. -EBUSY: one lives.
 */
must_check int dirs_open_log(int dir, char *why, size_t why_size);
/* An empty file, root:mgmt 0640, open for writing. */
must_check int dirs_create_file(const struct run_dirs *dirs, int dir, const char *name, char *why,
				size_t why_size);
/* A listening socket for the mgmt uid alone; replaces a left-over one. */
must_check int dirs_listen(const struct run_dirs *dirs, int dir, const char *name, char *why,
			   size_t why_size);

#endif
