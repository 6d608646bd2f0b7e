/*
 * The escape drill: a vmm in which the guest has code execution, as far as a test can play that. The
 * guest writes a line to port E4h, "SEQUENCE ATTEMPT THREAD NUMBER TEXT", and the vmm's own process
 * makes that attempt on its vCPU's thread (v) or its main one (m); what comes back is read there.
 */
#ifndef HOSTILE_ESCAPE_H
#define HOSTILE_ESCAPE_H

#include <limits.h>

#include "core/bits.h"

#define ESCAPE_PORT 0xe4

/* What the process holds, and the attempts turn against others. */
struct escape_loot {
	int kvm, vm, vcpu;
	int disk, read_only_disk;
	uint64_t disk_size;
	struct io_uring *ring;
	int port; /* the connection to the switch */
	char port_path[108];
	long number; /* with this attempt; e.g. the victim's process */
	char text[256];
};

extern struct escape_loot escape_loot;

/* In place of arguments: what came with the attempt. */
#define NUMBER (LONG_MIN + 1)
#define TEXT   (LONG_MIN + 2)

struct escape_attempt {
	const char *name;
	/* >= 0: it succeeded; -errno. Or a system call: */
	long (*make)(struct escape_loot *loot);
	long call, args[6];
};

const struct escape_attempt *escape_calls(size_t *count); /* plain system calls */
const struct escape_attempt *escape_roads(size_t *count); /* what takes more steps */

/* The result of an attempt by its name; LONG_MIN: there is none. */
long escape_try(const char *name);

#endif
