#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "vmm/footprint.h"

static void sums_what_is_not_guest_ram(void **state)
{
	struct mem_slot_request req = {.size = 4 * MIB, .page_size = 4 * KIB, .name = "test"};
	struct guest_memory *gm = guest_memory_create();
	char text[1024], why[256];
	unsigned long hva;
	FILE *smaps;

	assert_non_null(gm);
	assert_int_equal(guest_memory_add_slot(gm, &req, why, sizeof(why)), 0);
	hva = (unsigned long)(uintptr_t)guest_memory_slot(gm, 0)->hva;
	/* The RAM's mapping may have been split, or joined with nothing: parts of it count not. */
	snprintf(text, sizeof(text),
		 "00400000-00500000 r-xp 00000000 08:01 1 /bin/x\nRss: 900 kB\nPss: 100 kB\n"
		 "Pss_Dirty: 7 kB\nVmFlags: rd\n"
		 "%lx-%lx rw-s 00000000 00:01 2 /memfd:test (deleted)\nPss: 3000 kB\n"
		 "%lx-%lx rw-s 00200000 00:01 2 /memfd:test (deleted)\nPss: 1000 kB\n"
		 "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0 [stack]\nPss: 12 kB\n",
		 hva, hva + 0x200000, hva + 0x200000, hva + 0x400000);
	smaps = fmemopen(text, strlen(text), "r");
	assert_non_null(smaps);
	assert_int_equal(footprint_parse(smaps, gm), 112);
	fclose(smaps);
	guest_memory_destroy(gm);
}

static void measures_this_process(void **state)
{
	assert_true(footprint_pss(NULL) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_what_is_not_guest_ram),
		cmocka_unit_test(measures_this_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
