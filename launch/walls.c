#include "launch/walls.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/log.h"
#include "core/syscall_filter.h"

#define BIT(cap) (1ULL << (cap))

/* What each is for; without one of them there is no guest. */
static const uint64_t needed =
	BIT(CAP_SETUID) | BIT(CAP_SETGID) |   /* programs get users of their own */
	BIT(CAP_SETPCAP) |		      /* and empty bounding sets */
	BIT(CAP_SYS_ADMIN) |		      /* and namespaces with roots of their own */
	BIT(CAP_SYS_RESOURCE) |		      /* and limits above ours */
	BIT(CAP_KILL) |			      /* and are ended at vmm-mgmt's request */
	BIT(CAP_CHOWN) | BIT(CAP_FOWNER) |    /* directories and sockets of the run directory */
	BIT(CAP_FSETID) |		      /* the ports' directories are setgid */
	BIT(CAP_DAC_OVERRIDE);		      /* images, and what the switch leaves in a port's directory */

/*
 * None of this is done here or in what is started here, whose own lists come on top. Calls that a
 * library may try and do without (perhaps only in another version of it) are left to the
 * capabilities, which are gone.
 */
static const int never[] = {
	/* Another kernel, or other code in this one. */
	SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(init_module),
	SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(bpf),
	/* The host as a whole. */
	SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(acct),
	SCMP_SYS(quotactl), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
	SCMP_SYS(adjtimex), SCMP_SYS(clock_adjtime), SCMP_SYS(syslog), SCMP_SYS(vhangup),
	SCMP_SYS(sethostname), SCMP_SYS(setdomainname),
	/* Other processes. */
#if !defined(__SANITIZE_ADDRESS__) /* which looks for leaks by it */
	SCMP_SYS(ptrace),
#endif
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd), SCMP_SYS(perf_event_open),
	/* Keys; files by their number, around every directory's mode. */
	SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(fanotify_init), SCMP_SYS(modify_ldt),
};

static int keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	}
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	/* In a container some were never there; the work that needs them will say so. */
	for (unsigned int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, data) < 0)
		return -errno;
	return 0;
}

int walls_raise(uint64_t also)
{
	int err = keep_capabilities(needed | also);

	if (err) {
		log_err("capabilities cannot be given up: %s", strerror(-err));
		return err;
	}
	return syscall_filter_forbid("vmm-launch", never, ARRAY_SIZE(never));
}
