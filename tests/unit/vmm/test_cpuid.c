#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "vmm/cpuid.h"

static const struct kvm_cpuid_entry2 host[] = {
	{.function = 0, .eax = 0x1f},
	/* VMX, x2APIC; the host's APIC identifier 5 of 16; HTT */
	{.function = 1, .ebx = 0x05100800, .ecx = 1u << 5 | 1u << 21, .edx = 1u << 28 | 1},
	{.function = 4, .index = 0, .flags = 1, .eax = 0x3c000121},
	{.function = 4, .index = 3, .flags = 1, .eax = 0x3c03c163},
	{.function = 4, .index = 4, .flags = 1, .eax = 0},
	{.function = 0xb, .index = 0, .flags = 1, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 5},
	{.function = 0x1f, .index = 0, .flags = 1, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 5},
	{.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b},
	{.function = 0x80000001, .ecx = 1u << 2 | 1u << 1 | 1u << 22},
	{.function = 0x80000008, .eax = 0x3028, .ecx = 0x400f},
	{.function = 0x8000000a, .eax = 1},
	{.function = 0x8000001d, .index = 3, .flags = 1, .eax = 0x0003c163},
	{.function = 0x8000001e, .eax = 5, .ebx = 0x0102, .ecx = 0x301},
};

static struct kvm_cpuid2 *build(unsigned int cores, unsigned int index)
{
	const struct cpuid_config config = {
		.cores = cores, .index = index, .tsc_deadline = true};
	struct kvm_cpuid2 *supported = calloc(1, sizeof(*supported) + sizeof(host)), *built;

	assert_non_null(supported);
	supported->nent = ARRAY_SIZE(host);
	memcpy(supported->entries, host, sizeof(host));
	built = cpuid_build(supported, &config);
	assert_non_null(built);
	free(supported);
	return built;
}

static const struct kvm_cpuid_entry2 *entry(const struct kvm_cpuid2 *cpuid, uint32_t function,
					    uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

static void a_vcpu_knows_its_place(void **state)
{
	struct kvm_cpuid2 *cpuid = build(4, 2);
	const struct kvm_cpuid_entry2 *e = entry(cpuid, 1, 0);

	assert_int_equal(e->ebx >> 24, 2);
	assert_int_equal(e->ebx >> 16 & 0xff, 4);
	assert_int_equal(e->ebx & 0xffff, 0x0800);
	assert_true(e->edx & 1u << 28);
	e = entry(cpuid, 0xb, 0);
	assert_int_equal(e->edx, 2);
	assert_int_equal(e->ebx, 1);
	assert_int_equal(e->ecx, 0x100);
	e = entry(cpuid, 0xb, 1);
	assert_int_equal(e->eax, 2);
	assert_int_equal(e->ebx, 4);
	assert_int_equal(e->ecx, 0x201);
	assert_int_equal(entry(cpuid, 0xb, 2)->ecx, 2);
	assert_null(entry(cpuid, 0x1f, 0));
	assert_int_equal(entry(cpuid, 0x8000001e, 0)->eax, 2);
	assert_int_equal(entry(cpuid, 0x8000001e, 0)->ecx, 0);
	assert_int_equal(entry(cpuid, 0x80000008, 0)->ecx, 0x2003);
	free(cpuid);
}

static void one_vcpu_is_alone(void **state)
{
	struct kvm_cpuid2 *cpuid = build(1, 0);

	assert_int_equal(entry(cpuid, 1, 0)->ebx >> 16, 1);
	assert_false(entry(cpuid, 1, 0)->edx & 1u << 28);
	assert_int_equal(entry(cpuid, 0xb, 1)->eax, 0);
	assert_int_equal(entry(cpuid, 0x80000008, 0)->ecx, 0);
	assert_false(entry(cpuid, 0x80000001, 0)->ecx & 1u << 1);
	free(cpuid);
}

static void packages_do_not_span_nodes(void **state)
{
	struct kvm_cpuid2 *cpuid = build(2, 3);

	assert_int_equal(entry(cpuid, 0xb, 1)->eax, 1); /* package 1 of identifier 3 */
	assert_int_equal(entry(cpuid, 0xb, 1)->edx, 3);
	assert_int_equal(entry(cpuid, 0x8000001e, 0)->ecx, 1);
	free(cpuid);
	assert_int_equal(cpuid_cores(6, 1), 6);
	assert_int_equal(cpuid_cores(4, 2), 2);
	assert_int_equal(cpuid_cores(8, 2), 4);
	assert_int_equal(cpuid_cores(6, 2), 1); /* 3: no bit divides them */
	assert_int_equal(cpuid_cores(5, 2), 1);
	assert_int_equal(cpuid_cores(1, 2), 1);
}

static void caches_are_shared_by_level(void **state)
{
	struct kvm_cpuid2 *cpuid = build(3, 0);

	/* Level 1: one thread; level 3: room for 4 identifiers; 4 cores in the package. */
	assert_int_equal(entry(cpuid, 4, 0)->eax, 0x121 | 3u << 26);
	assert_int_equal(entry(cpuid, 4, 3)->eax, 0x163 | 3u << 26 | 3u << 14);
	assert_int_equal(entry(cpuid, 4, 4)->eax, 0);
	assert_int_equal(entry(cpuid, 0x8000001d, 3)->eax, 0x163 | 3u << 14);
	free(cpuid);
}

static void features_are_filtered(void **state)
{
	struct kvm_cpuid2 *cpuid = build(2, 1);
	uint32_t ecx = entry(cpuid, 1, 0)->ecx;

	assert_false(ecx & 1u << 5);
	assert_true(ecx & 1u << 21);
	assert_true(ecx & 1u << 24);
	assert_true(ecx & 1u << 31);
	assert_false(entry(cpuid, 0x80000001, 0)->ecx & 1u << 2);
	assert_true(entry(cpuid, 0x80000001, 0)->ecx & 1u << 22);
	assert_null(entry(cpuid, 0x8000000a, 0));
	assert_int_equal(entry(cpuid, 0x40000000, 0)->ebx, 0x4b4d564b);
	assert_int_equal(cpuid_phys_bits(cpuid), 40);
	free(cpuid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vcpu_knows_its_place),
		cmocka_unit_test(one_vcpu_is_alone),
		cmocka_unit_test(packages_do_not_span_nodes),
		cmocka_unit_test(caches_are_shared_by_level),
		cmocka_unit_test(features_are_filtered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
