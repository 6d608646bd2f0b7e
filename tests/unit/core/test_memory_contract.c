#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/memory_contract.h"

/* What goes together, written down a second time: a change to the table must be meant. */
static const uint32_t refused[MEMORY_FEATURES] = {
	[MEMORY_FEATURE_VHOST_USER] = 1u << MEMORY_PRIVATE | 1u << MEMORY_LAZY,
	[MEMORY_FEATURE_VFIO] = 1u << MEMORY_PRIVATE | 1u << MEMORY_DISCARDABLE |
				1u << MEMORY_LAZY | 1u << MEMORY_TRACED,
	[MEMORY_FEATURE_BALLOON] = 1u << MEMORY_PINNED | 1u << MEMORY_LAZY,
	[MEMORY_FEATURE_MERGE] = 1u << MEMORY_SHARED | 1u << MEMORY_PINNED | 1u << MEMORY_LAZY,
	[MEMORY_FEATURE_CLONE] = 1u << MEMORY_SHARED | 1u << MEMORY_PINNED | 1u << MEMORY_LAZY,
	[MEMORY_FEATURE_POSTCOPY] = 1u << MEMORY_SHARED | 1u << MEMORY_PRIVATE |
				    1u << MEMORY_PINNED | 1u << MEMORY_DISCARDABLE |
				    1u << MEMORY_LAZY,
	[MEMORY_FEATURE_DIRTY_LOG] = 1u << MEMORY_PINNED | 1u << MEMORY_LAZY |
				     1u << MEMORY_TRACED,
};

static void test_every_cell_is_as_meant_and_refusals_have_words(void **state)
{
	for (unsigned int f = 0; f < MEMORY_FEATURES; f++) {
		for (unsigned int p = 0; p < MEMORY_PROPERTIES; p++) {
			const char *words = memory_contract_refusal(1u << p, f);

			if (!(refused[f] & (1u << p))) {
				assert_null(words);
				continue;
			}
			assert_non_null(words);
			/* What, why, and what to do. */
			assert_non_null(strstr(words, " because "));
			assert_non_null(strstr(words, "; "));
			assert_true(strlen(strstr(words, "; ")) > 10);
		}
	}
}

static void test_a_set_is_refused_for_any_of_its_members(void **state)
{
	uint32_t all = (1u << MEMORY_PROPERTIES) - 1;

	for (unsigned int f = 0; f < MEMORY_FEATURES; f++) {
		assert_null(memory_contract_refusal(0, f));
		assert_non_null(memory_contract_refusal(all, f));
		assert_null(memory_contract_refusal(all & ~refused[f], f));
	}
}

/* If A forbids B's property, then B must forbid A's: the order of starting makes no difference. */
static void test_refusals_hold_in_either_order(void **state)
{
	for (unsigned int a = 0; a < MEMORY_FEATURES; a++) {
		for (unsigned int b = 0; b < MEMORY_FEATURES; b++) {
			uint32_t of_a = memory_contract_adds(a), of_b = memory_contract_adds(b);

			if (!of_a || !of_b || a == b)
				continue;
			/* Transient states may begin later than what must not begin during them. */
			if ((of_a | of_b) & (1u << MEMORY_LAZY | 1u << MEMORY_PRIVATE))
				continue;
			assert_int_equal(memory_contract_refusal(of_b, a) == NULL,
					 memory_contract_refusal(of_a, b) == NULL);
		}
	}
}

static void test_all_have_names(void **state)
{
	for (unsigned int f = 0; f < MEMORY_FEATURES; f++)
		assert_true(strlen(memory_feature_name(f)) > 0);
	for (unsigned int p = 0; p < MEMORY_PROPERTIES; p++)
		assert_true(strlen(memory_property_name(p)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell_is_as_meant_and_refusals_have_words),
		cmocka_unit_test(test_a_set_is_refused_for_any_of_its_members),
		cmocka_unit_test(test_refusals_hold_in_either_order),
		cmocka_unit_test(test_all_have_names),
	};

	return cmocka_run_group_tests_name("memory_contract", tests, NULL, NULL);
}
