#include "boot_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devemu/lpc.h"
#include "vmm/acpi.h"

static uint8_t area[ACPI_AREA_SIZE];
static size_t used;
static char why[256];

static const unsigned int vcpu_node[] = {0, 0, 1, 1};
static const struct acpi_memory_affinity memory[] = {
	{0, 2 * GIB, 0},
	{4 * GIB, 2 * GIB, 1},
};

static struct acpi_config config(void)
{
	return (struct acpi_config){
		.vcpus = 4,
		.ecam_base = ACPI_ECAM_BASE,
		.ecam_buses = ACPI_ECAM_BUSES,
		.windows = {
			.mmio32_base = 0xc0000000,
			.mmio32_size = 0x3e000000,
			.mmio64_base = 0x800000000,
			.mmio64_size = 0x400000000,
		},
		.nodes = 1,
	};
}

static int build(const struct acpi_config *c)
{
	memset(area, 0xa5, sizeof(area));
	return acpi_build(c, area, sizeof(area), &used, why, sizeof(why));
}

static uint8_t *at(uint64_t gpa, size_t len)
{
	assert_true(gpa >= ACPI_AREA_BASE && range_within(gpa - ACPI_AREA_BASE, len, used));
	return area + (gpa - ACPI_AREA_BASE);
}

static void check_sum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	assert_int_equal(sum, 0);
}

/* By signature, through RSDP and XSDT; checks the sums on the way. NULL: not there. */
static uint8_t *find(const char *signature)
{
	uint8_t *xsdt, *found = NULL;

	assert_memory_equal(area, "RSD PTR ", 8);
	check_sum(area, 20);
	check_sum(area, 36);
	xsdt = at(get_le64(area + 24), 36);
	assert_memory_equal(xsdt, "XSDT", 4);
	check_sum(xsdt, get_le32(xsdt + 4));
	for (unsigned int i = 36; i < get_le32(xsdt + 4); i += 8) {
		uint8_t *t = at(get_le64(xsdt + i), 36);

		at(get_le64(xsdt + i), get_le32(t + 4));
		check_sum(t, get_le32(t + 4));
		if (memcmp(t, signature, 4) == 0) {
			assert_null(found);
			found = t;
		}
	}
	return found;
}

static void test_fadt(void **state)
{
	struct acpi_config c = config();
	uint8_t *fadt, *dsdt, *facs;

	assert_int_equal(build(&c), 0);
	fadt = find("FACP");
	assert_non_null(fadt);
	facs = at(get_le32(fadt + 36), 64);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get_le32(fadt + 36) % 64, 0);
	dsdt = at(get_le64(fadt + 140), 36);
	assert_int_equal(get_le32(fadt + 40), get_le64(fadt + 140));
	assert_memory_equal(dsdt, "DSDT", 4);
	check_sum(dsdt, get_le32(dsdt + 4));
	assert_int_equal(get_le16(fadt + 46), 9);
	assert_int_equal(get_le32(fadt + 56), 0x600);
	assert_int_equal(get_le32(fadt + 64), 0x604);
	assert_int_equal(get_le32(fadt + 76), 0x608);
	assert_int_equal(get_le32(fadt + 80), 0x620);
	assert_int_equal(fadt[116], 1); /* reset register: a port */
	assert_int_equal(get_le64(fadt + 120), 0xcf9);
	assert_int_equal(fadt[128], 6);
}

static void test_madt(void **state)
{
	struct acpi_config c = config();
	unsigned int count[8] = {0};
	uint8_t *madt, *e;

	assert_int_equal(build(&c), 0);
	madt = find("APIC");
	assert_non_null(madt);
	for (e = madt + 44; e < madt + get_le32(madt + 4); e += e[1]) {
		assert_true(e[1] >= 2 && e[0] < ARRAY_SIZE(count));
		if (e[0] == 0)
			assert_int_equal(e[3], count[0]);
		if (e[0] == 2 && e[3] == 0)
			assert_int_equal(get_le32(e + 4), 2);
		if (e[0] == 2 && e[3] == 9)
			assert_int_equal(get_le16(e + 8), 0xd);
		count[e[0]]++;
	}
	assert_ptr_equal(e, madt + get_le32(madt + 4));
	assert_int_equal(count[0], 4);
	assert_int_equal(count[1], 1);
	assert_int_equal(count[2], 2);
	c.vcpus = ACPI_MAX_VCPUS;
	assert_int_equal(build(&c), 0);
}

static void test_mcfg(void **state)
{
	struct acpi_config c = config();
	uint8_t *mcfg;

	assert_int_equal(build(&c), 0);
	mcfg = find("MCFG");
	assert_non_null(mcfg);
	assert_int_equal(get_le32(mcfg + 4), 60);
	assert_int_equal(get_le64(mcfg + 44), ACPI_ECAM_BASE);
	assert_int_equal(mcfg[55], 255);
}

static void test_srat(void **state)
{
	struct acpi_config c = config();
	uint8_t *srat;

	assert_int_equal(build(&c), 0);
	assert_null(find("SRAT"));
	c.nodes = 2;
	assert_int_not_equal(build(&c), 0);
	c.memory = memory;
	c.memory_count = ARRAY_SIZE(memory);
	c.vcpu_node = vcpu_node;
	assert_int_equal(build(&c), 0);
	srat = find("SRAT");
	assert_non_null(srat);
	assert_int_equal(get_le32(srat + 4), 48 + 4 * 16 + 2 * 40);
	assert_int_equal(srat[48 + 2 * 16 + 2], 1); /* third vCPU: node 1 */
	assert_int_equal(get_le32(srat + 48 + 64 + 40 + 2), 1);
	assert_int_equal(get_le64(srat + 48 + 64 + 40 + 8), 4 * GIB);
}

static void test_refusals(void **state)
{
	struct acpi_config c = config();

	c.vcpus = 0;
	assert_int_equal(build(&c), -EINVAL);
	c.vcpus = ACPI_MAX_VCPUS + 1;
	assert_int_equal(build(&c), -EINVAL);
	c = config();
	c.ecam_buses = 257;
	assert_int_equal(build(&c), -EINVAL);
	c = config();
	c.windows.mmio32_size = 0;
	assert_int_equal(build(&c), -EINVAL);
	c = config();
	for (size_t size = 0; size < 3000; size += 61)
		assert_int_equal(acpi_build(&c, area, size, &used, why, sizeof(why)), -ENOSPC);
}

static void save(const char *dir, const char *name, const uint8_t *table)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(table, get_le32(table + 4), 1, f), 1);
	fclose(f);
}

/* Output of a command run in dir; the caller frees. */
static char *run(const char *dir, const char *command)
{
	size_t size = 1 << 18;
	char *out = calloc(1, size);
	char line[512];
	FILE *p;

	snprintf(line, sizeof(line), "cd %s && %s 2>&1", dir, command);
	p = popen(line, "r");
	assert_non_null(p);
	assert_non_null(out);
	fread(out, 1, size - 1, p);
	if (pclose(p) != 0)
		fail_msg("%s: %s", command, out);
	return out;
}

/* The texts in this order, from `from` on; returns what follows the last. */
static const char *expect(const char *from, const char *const *texts)
{
	for (; *texts; texts++) {
		const char *found = strstr(from, *texts);

		if (!found)
			fail_msg("no \"%s\" in: %s", *texts, from);
		from = found + strlen(*texts);
	}
	return from;
}

/* _PRT in APIC mode, entry by entry, against the chipset. */
static void check_wiring(const char *from)
{
	for (unsigned int i = 0; i < 128; i++) {
		unsigned long value[4];

		for (unsigned int j = 0; j < 4; j++) {
			from = strstr(from, "[Integer] = ");
			assert_non_null(from);
			from += strlen("[Integer] = ");
			value[j] = strtoul(from, NULL, 16);
		}
		assert_int_equal(value[0], (i / 4) << 16 | 0xffff);
		assert_int_equal(value[1], i % 4);
		assert_int_equal(value[2], 0);
		assert_int_equal(value[3], LPC_PIRQ_GSI + lpc_pirq_of(i / 4, i % 4));
	}
}

/*
 * One run of ACPICA's interpreter for all. In 8259 mode _PRT's 128 references are more than
 * acpiexec has room for, so the method it takes them from is asked for one.
 */
static void evaluate(const char *dir)
{
	static const char command[] =
		"acpiexec -b 'evaluate \\_S5; evaluate \\_SB.MBRD._CRS; evaluate \\_SB.PCI0._CRS; "
		"evaluate \\_SB.PCI0.LINK 4; evaluate \\_PIC 1; evaluate \\_SB.PCI0._PRT' "
		"DSDT.dat SSDT.dat </dev/null";
	char *out = run(dir, command);
	const char *from;

	from = expect(out, (const char *const[]){
				   "Contains 4 Elements", "0000000000000007",
				   "86 09 00 01 00 00 00 B0 00 00 00 10",	/* ECAM */
				   "00 00 00 00 00 C0 FF FF FF FD", "79 00",	/* MMIO window */
				   "LNKE", "Contains 128 Elements", NULL});
	check_wiring(from);
	if (strstr(out, "AE_"))
		fail_msg("%s", out);
	free(out);
}

/* The fixed hardware that the FADT names is where the chipset has it. */
static void test_chipset_agrees(void **state)
{
	assert_int_equal(ACPI_PM1A_EVT - ACPI_PM_BASE, LPC_PM1_EVT);
	assert_int_equal(ACPI_PM1A_CNT - ACPI_PM_BASE, LPC_PM1_CNT);
	assert_int_equal(ACPI_PM_TMR - ACPI_PM_BASE, LPC_PM_TMR);
	assert_int_equal(ACPI_GPE0 - ACPI_PM_BASE, LPC_GPE0);
	assert_int_equal(ACPI_GPE0_LEN, LPC_GPE0_LEN);
	assert_int_equal(ACPI_SCI_GSI, LPC_SCI_GSI);
	assert_int_equal(ACPI_PIRQ_GSI, LPC_PIRQ_GSI);
	assert_int_equal(ACPI_S5_SLP_TYP, LPC_SLP_TYP_S5);
	assert_int_equal(ACPI_PM_BASE % LPC_PM_SIZE, 0);
}

/* The tables as ACPICA, which is also the guest's interpreter, understands them. */
static void test_acpica_agrees(void **state)
{
	static const char *const names[] = {"FACP", "APIC", "MCFG", "SSDT"};
	struct acpi_config c = config();
	char dir[] = "/tmp/test-acpi-XXXXXX";
	char command[64];
	uint8_t *fadt;

	if (system("command -v acpiexec iasl >/dev/null") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	assert_int_equal(build(&c), 0);
	fadt = find("FACP");
	save(dir, "DSDT", at(get_le64(fadt + 140), 36));
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		char *out;

		save(dir, names[i], find(names[i]));
		snprintf(command, sizeof(command), "iasl -d %s.dat && cat %s.dsl", names[i],
			 names[i]);
		out = run(dir, command);
		assert_null(strstr(out, "Invalid"));
		assert_null(strstr(out, "nvalid "));
		free(out);
	}
	evaluate(dir);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_mcfg),
		cmocka_unit_test(test_srat),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_acpica_agrees),
		cmocka_unit_test(test_chipset_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
