/*
 * The vCPU threads of a machine as one group: they run, or they are parked between two
 * instructions. A vCPU thread runs KVM_RUN and register handlers and never waits for the io thread.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "core/io_bus.h"
#include "vmm/boot.h"
#include "vmm/kvm_stats.h"
#include "vmm/kvm_vm.h"

/* Why a vCPU cannot go on by itself. */
enum vcpu_event {
	VCPU_TRIPLE_FAULT, /* hardware would reset */
	VCPU_GUEST_FAULT,  /* KVM gave up on the guest */
	VCPU_HOST_FAILURE, /* KVM_RUN itself failed */
};

struct vcpu_group;

struct vcpu_group_config {
	struct kvm_vm *vm;
	struct io_bus *pio, *mmio;
	unsigned int count;
	unsigned int cores; /* of a package: cpuid_cores */
	const unsigned int *host_nodes; /* of each; only read during creation; NULL: anywhere */
	/* On a vCPU's thread, with the whole group asked to pause: hand it on, do not act. */
	void (*event)(void *opaque, enum vcpu_event event, const char *message);
	void *opaque;
};

/* Creates the vCPUs and their threads, parked. 0 or -errno with a line in `why`. io thread. */
must_check int vcpu_group_create(const struct vcpu_group_config *config, struct vcpu_group **group,
				 char *why, size_t why_size);
/* Ends the threads, wherever they are. NULL is allowed. io thread. */
void vcpu_group_destroy(struct vcpu_group *group);

/* All to power-on state, the first at the kernel's entry. io thread, parked. 0 or -errno. */
must_check int vcpu_group_reset(struct vcpu_group *group, const struct boot_cpu *entry);

/* Returns when all are parked. Not with a device's lock held. io thread. */
void vcpu_group_pause(struct vcpu_group *group);
/* The same without waiting, for those who may not: any thread, also with a device's lock. */
void vcpu_group_ask_pause(struct vcpu_group *group);
void vcpu_group_resume(struct vcpu_group *group); /* io thread */

/* Maps all RAM at the second level: ept_prefault. io thread, parked. */
struct ept;
must_check int vcpu_group_prefault(struct vcpu_group *group, struct ept *ept);

/* KVM's statistics summed over the vCPUs. io thread. */
must_check int vcpu_group_stats(struct vcpu_group *group, kvm_stat_fn emit, void *opaque);

#endif
