/*
 * What a guest's CPUID says: what KVM supports, with this vCPU's place in the topology (one
 * thread a core, one package a NUMA node) and without what we do not offer. Pure; any thread.
 * (Intel SDM 2A CPUID; AMD APM 3 appendix E.)
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>

#include "core/bits.h"

struct cpuid_config {
	unsigned int cores; /* of a package, as cpuid_cores says */
	unsigned int index; /* this vCPU: its APIC identifier too */
	bool tsc_deadline;  /* KVM_CAP_TSC_DEADLINE_TIMER: not said by the supported list */
};

/*
 * Cores of a package such that none spans two nodes, vCPU i being on node i * nodes / vcpus. The
 * upper bits of an APIC identifier name the package, so that several hold a power of two each.
 */
unsigned int cpuid_cores(unsigned int vcpus, unsigned int nodes);

/* A copy of `supported` fitted to one vCPU; free() it. NULL: out of memory. */
struct kvm_cpuid2 *cpuid_build(const struct kvm_cpuid2 *supported,
			       const struct cpuid_config *config);

/* Physical address bits (leaf 80000008h); 36 where the leaf is absent. */
unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid);

#endif
