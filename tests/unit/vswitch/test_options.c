#include <errno.h>

#include "tests/unit/vswitch/unit.h"
#include "vswitch/options.h"

static char why[256];

static enum options_result parse(struct options *options, const char *a, const char *b,
				 const char *c, const char *d, const char *e)
{
	/* Options borrow from it. */
	static const char *argv[7];
	int argc = 1;

	memcpy(argv, (const char *[]){"vswitch", a, b, c, d, e, NULL}, sizeof(argv));
	while (argv[argc])
		argc++;
	why[0] = '\0';
	return options_parse(argc, (char **)(uintptr_t)argv, options, why, sizeof(why));
}

static bool eal_has(const struct options_eal *eal, const char *arg)
{
	for (int i = 0; i < eal->argc; i++)
		if (strcmp(eal->argv[i], arg) == 0)
			return true;
	return false;
}

static void defaults(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(parse(&o, "--control", "fd:3", NULL, NULL, NULL), OPTIONS_RUN);
	assert_string_equal(o.control, "fd:3");
	assert_int_equal(o.cpu_count, 0);
	assert_int_equal(o.fdb_age, 300);
	assert_int_equal(o.control_uid, (uid_t)-1);
	assert_int_equal(o.eal_arg_count, 0);
	assert_int_equal(parse(&o, "--help", NULL, NULL, NULL, NULL), OPTIONS_HELP);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *a, *b, *says;
	} cases[] = {
		{NULL, NULL, "--control"},
		{"--fdb-age", "0", "--fdb-age"},
		{"--fdb-size", "1e9", "--fdb-size"},
		{"--mbufs", "-5", "--mbufs"},
		{"--mbufs", "99999999999999999999", "--mbufs"},
		{"--log-level", "loud", "loud"},
		{"--lcores", "x", "--lcores"},
		{"--colour", NULL, "--colour"},
		{"--control", NULL, "--control"},
		{"stray", NULL, "stray"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct options o;

		assert_int_equal(parse(&o, cases[i].a, cases[i].b, NULL, NULL, NULL),
				 OPTIONS_ERROR);
		assert_non_null(strstr(why, cases[i].says));
	}
}

static void cpu_lists(void **state)
{
	static const char *const bad[] = {"",  "1,",  ",1", "3-1", "1-", "-1", "1 2",
					  "0", "1,1", "9",  "1;2", "4294967297"};
	struct options o = {0};
	cpu_set_t allowed;

	(void)state;
	CPU_ZERO(&allowed);
	for (int cpu = 1; cpu < 8; cpu++)
		CPU_SET(cpu, &allowed);
	assert_int_equal(options_parse_cpus("1,3-5,7", &allowed, &o, why, sizeof(why)), 0);
	assert_int_equal(o.cpu_count, 5);
	assert_int_equal(o.cpus[0], 1);
	assert_int_equal(o.cpus[2], 4);
	assert_int_equal(o.cpus[4], 7);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(options_parse_cpus(bad[i], &allowed, &o, why, sizeof(why)),
				 -EINVAL);
}

static void eal_defaults_and_the_users_words(void **state)
{
	struct options_eal eal;
	struct options o;
	cpu_set_t cpus;

	(void)state;
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	CPU_SET(2, &cpus);
	assert_int_equal(parse(&o, "--control", "c", NULL, NULL, NULL), OPTIONS_RUN);
	assert_int_equal(options_make_eal(&o, &cpus, &eal), 0);
	assert_string_equal(eal.argv[1], "--lcores=0@(0,2),1@(0,2)");
	assert_true(eal_has(&eal, "--no-huge"));
	assert_true(eal_has(&eal, "-a"));
	assert_null(eal.argv[eal.argc]);
	assert_int_equal(parse(&o, "--huge-pages", "--control", "c", NULL, NULL), OPTIONS_RUN);
	assert_int_equal(options_make_eal(&o, &cpus, &eal), 0);
	assert_true(eal_has(&eal, "--in-memory"));
	assert_false(eal_has(&eal, "--no-huge"));

	assert_int_equal(parse(&o, "--control", "c", "--", "-m64", "--no-pci"), OPTIONS_RUN);
	o.cpus[0] = 2;
	o.cpu_count = 1;
	assert_int_equal(options_make_eal(&o, &cpus, &eal), 0);
	assert_string_equal(eal.argv[1], "--lcores=0@(0,2),1@2");
	assert_false(eal_has(&eal, "--no-huge"));
	assert_false(eal_has(&eal, "-a"));
	assert_true(eal_has(&eal, "--no-pci"));
	assert_string_equal(eal.argv[eal.argc - 2], "--no-telemetry");
	assert_string_equal(eal.argv[eal.argc - 1], "--no-shconf");
	o.eal_arg_count = OPTIONS_MAX_EAL_ARGS;
	o.eal_args = (char *const *)calloc(OPTIONS_MAX_EAL_ARGS, sizeof(char *));
	for (int i = 0; i < OPTIONS_MAX_EAL_ARGS; i++)
		((const char **)(uintptr_t)o.eal_args)[i] = "-x";
	assert_int_equal(options_make_eal(&o, &cpus, &eal), -E2BIG);
	free((void *)(uintptr_t)o.eal_args);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(cpu_lists),
		cmocka_unit_test(eal_defaults_and_the_users_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
