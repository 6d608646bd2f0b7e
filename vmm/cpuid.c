#include "vmm/cpuid.h"

#include <stdlib.h>

#define LEAF1_ECX_VMX	       (1u << 5)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT	       (1u << 28)
#define EXT1_ECX_CMP_LEGACY    (1u << 1)
#define EXT1_ECX_SVM	       (1u << 2)

#define LEVEL_SMT     1u
#define LEVEL_CORE    2u
#define TOPOLOGY_SUBLEAVES 3u

static unsigned int bits_for(unsigned int count)
{
	return count <= 1 ? 0 : 32 - (unsigned int)__builtin_clz(count - 1);
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t function)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	return NULL;
}

unsigned int cpuid_phys_bits(const struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *entry = find(cpuid, 0x80000008);

	return entry ? entry->eax & 0xff : 36;
}

unsigned int cpuid_cores(unsigned int vcpus, unsigned int nodes)
{
	if (nodes <= 1)
		return vcpus;
	return vcpus % nodes == 0 && is_power_of_two(vcpus / nodes) ? vcpus / nodes : 1;
}

static void fix_features(struct kvm_cpuid_entry2 *entry, const struct cpuid_config *config)
{
	entry->ebx &= 0xffffu;
	entry->ebx |= config->index << 24 | (1u << bits_for(config->cores)) << 16;
	entry->ecx &= ~LEAF1_ECX_VMX;
	entry->ecx |= LEAF1_ECX_HYPERVISOR;
	if (config->tsc_deadline)
		entry->ecx |= LEAF1_ECX_TSC_DEADLINE;
	entry->edx &= ~LEAF1_EDX_HTT;
	if (config->cores > 1)
		entry->edx |= LEAF1_EDX_HTT;
}

/*
 * Leaves 4 (Intel) and 8000001Dh (AMD) alike: level 3 is shared by all, levels 1 and 2 by none.
 * Bits 31:26 of leaf 4 count the cores; they are reserved in AMD's.
 */
static void fix_cache(struct kvm_cpuid_entry2 *entry, const struct cpuid_config *config)
{
	unsigned int ids = 1u << bits_for(config->cores);
	unsigned int level = entry->eax >> 5 & 7;

	if (!(entry->eax & 0x1f))
		return;
	entry->eax &= 0x3fff;
	if (level >= 3)
		entry->eax |= (ids - 1) << 14;
	if (entry->function == 4)
		entry->eax |= (ids - 1) << 26;
}

static void fix_entry(struct kvm_cpuid_entry2 *entry, const struct cpuid_config *config)
{
	switch (entry->function) {
	case 1:
		fix_features(entry, config);
		break;
	case 4:
	case 0x8000001d:
		fix_cache(entry, config);
		break;
	case 0x80000001:
		entry->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
		if (config->cores > 1)
			entry->ecx |= EXT1_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		entry->ecx &= ~0xf0ffu;
		entry->ecx |= (config->cores - 1) | bits_for(config->cores) << 12;
		break;
	case 0x8000001e:
		entry->eax = config->index;
		entry->ebx = config->index; /* one thread a core */
		entry->ecx = config->index / config->cores; /* the node: a package is one */
		break;
	}
}

/* Leaves whose content describes the host's topology, or a feature we take away. */
static bool dropped(uint32_t function)
{
	return function == 0xb || function == 0x1f || function == 0x80000026 ||
	       function == 0x8000000a;
}

static void add_topology(struct kvm_cpuid2 *cpuid, const struct cpuid_config *config)
{
	const struct kvm_cpuid_entry2 levels[TOPOLOGY_SUBLEAVES] = {
		{.eax = 0, .ebx = 1, .ecx = LEVEL_SMT << 8},
		{.eax = bits_for(config->cores), .ebx = config->cores, .ecx = LEVEL_CORE << 8},
		{0},
	};

	for (uint32_t i = 0; i < TOPOLOGY_SUBLEAVES; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

		*entry = levels[i];
		entry->function = 0xb;
		entry->index = i;
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		entry->ecx |= i;
		entry->edx = config->index;
	}
}

struct kvm_cpuid2 *cpuid_build(const struct kvm_cpuid2 *supported,
			       const struct cpuid_config *config)
{
	const struct kvm_cpuid_entry2 *leaf0 = find(supported, 0);
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + (supported->nent + TOPOLOGY_SUBLEAVES) *
						   sizeof(cpuid->entries[0]));
	if (!cpuid)
		return NULL;
	for (uint32_t i = 0; i < supported->nent; i++) {
		struct kvm_cpuid_entry2 entry = supported->entries[i];

		if (dropped(entry.function))
			continue;
		fix_entry(&entry, config);
		cpuid->entries[cpuid->nent++] = entry;
	}
	if (leaf0 && leaf0->eax >= 0xb)
		add_topology(cpuid, config);
	return cpuid;
}
