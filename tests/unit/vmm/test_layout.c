#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devemu/lpc.h"
#include "vmm/layout.h"

static void small_ram_stays_low(void **state)
{
	struct layout l;

	assert_int_equal(layout_compute(512 * MIB, 4 * KIB, 36, &l), 0);
	assert_int_equal(l.low_ram, 512 * MIB);
	assert_int_equal(l.high_ram, 0);
}

static void large_ram_goes_around_the_hole(void **state)
{
	struct layout l;

	assert_int_equal(layout_compute(5 * GIB, GIB, 40, &l), 0);
	assert_int_equal(l.low_ram, 2 * GIB);
	assert_int_equal(l.high_ram, 3 * GIB);
	/* The hole begins where low RAM can end at most, and holds all that is fixed. */
	assert_true(LAYOUT_LOW_RAM_MAX <= LAYOUT_ECAM_BASE);
	assert_true(LAYOUT_ECAM_BASE + LAYOUT_ECAM_BUSES * MIB <= LAYOUT_MMIO32_BASE);
	assert_true(LAYOUT_MMIO32_END <= LAYOUT_IOAPIC_BASE);
}

static void wide_window_is_below_the_address_bits(void **state)
{
	for (unsigned int bits = 36; bits <= 52; bits++) {
		struct layout l;

		assert_int_equal(layout_compute(4 * GIB, 4 * KIB, bits, &l), 0);
		assert_true(l.mmio64_size >= 16 * GIB);
		assert_true(l.mmio64_size <= LAYOUT_MMIO64_MAX);
		assert_true(l.mmio64_base + l.mmio64_size <= 1ULL << bits);
		assert_true(l.mmio64_base >= LAYOUT_HIGH_RAM_BASE + l.high_ram);
	}
}

static void much_ram_pushes_the_wide_window_up(void **state)
{
	struct layout l;

	assert_int_equal(layout_compute(40 * GIB, 4 * KIB, 36, &l), 0);
	assert_int_equal(l.mmio64_base, 42 * GIB);
	assert_int_equal(l.mmio64_size, 16 * GIB);
	assert_int_equal(layout_compute(62 * GIB, 4 * KIB, 36, &l), 0);
	assert_int_equal(l.mmio64_size, 0);
}

static void what_does_not_fit_is_refused(void **state)
{
	struct layout l;

	assert_int_equal(layout_compute(63 * GIB, 4 * KIB, 36, &l), -ERANGE);
	assert_int_equal(layout_compute(0, 4 * KIB, 36, &l), -ERANGE);
	assert_int_equal(layout_compute(3 * MIB, 2 * MIB, 36, &l), -ERANGE);
	assert_int_equal(layout_compute(GIB, 4 * KIB, 64, &l), -ERANGE);
}

static void nodes_are_of_whole_pages(void **state)
{
	struct acpi_memory_affinity out[9];
	struct layout l;

	assert_int_equal(layout_compute(3 * GIB, GIB, 36, &l), 0);
	assert_int_equal(layout_nodes(&l, 2, out), 3);
	assert_int_equal(out[0].size, GIB);
	assert_int_equal(out[1].base, GIB);
	assert_int_equal(out[1].size, GIB);
	assert_int_equal(out[2].base, LAYOUT_HIGH_RAM_BASE);
	assert_int_equal(out[2].node, 1);
}

static void nodes_cover_the_ram_once(void **state)
{
	for (unsigned int nodes = 1; nodes <= 8; nodes++) {
		struct acpi_memory_affinity out[9];
		struct layout l;
		uint64_t sum = 0;
		unsigned int used;

		assert_int_equal(layout_compute(3 * GIB + 6 * MIB, 2 * MIB, 36, &l), 0);
		used = layout_nodes(&l, nodes, out);
		assert_true(used >= nodes && used <= nodes + 1);
		for (unsigned int i = 0; i < used; i++) {
			sum += out[i].size;
			assert_true(out[i].size > 0);
			assert_true(out[i].base + out[i].size <= l.low_ram ||
				    out[i].base >= LAYOUT_HIGH_RAM_BASE);
			if (i) {
				assert_true(out[i].base >= out[i - 1].base + out[i - 1].size);
				assert_true(out[i].node >= out[i - 1].node);
			}
		}
		assert_int_equal(out[used - 1].node, nodes - 1);
		assert_int_equal(sum, 3 * GIB + 6 * MIB);
	}
}

/* The tables and the bridge state the same board. */
static void tables_and_bridge_agree(void **state)
{
	assert_int_equal(ACPI_PIRQ_GSI, LPC_PIRQ_GSI);
	assert_int_equal(ACPI_SCI_GSI, LPC_SCI_GSI);
	assert_int_equal(ACPI_S5_SLP_TYP, LPC_SLP_TYP_S5);
	assert_int_equal(ACPI_PM1A_EVT - ACPI_PM_BASE, LPC_PM1_EVT);
	assert_int_equal(ACPI_PM1A_CNT - ACPI_PM_BASE, LPC_PM1_CNT);
	assert_int_equal(ACPI_PM_TMR - ACPI_PM_BASE, LPC_PM_TMR);
	assert_int_equal(ACPI_GPE0 - ACPI_PM_BASE, LPC_GPE0);
	assert_int_equal(ACPI_GPE0_LEN, LPC_GPE0_LEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_ram_stays_low),
		cmocka_unit_test(large_ram_goes_around_the_hole),
		cmocka_unit_test(wide_window_is_below_the_address_bits),
		cmocka_unit_test(much_ram_pushes_the_wide_window_up),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(nodes_are_of_whole_pages),
		cmocka_unit_test(nodes_cover_the_ram_once),
		cmocka_unit_test(tables_and_bridge_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
