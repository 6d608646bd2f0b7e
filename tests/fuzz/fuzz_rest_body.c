/*
 * A body as the REST interface takes it, tried as each kind there is. What is accepted must be
 * accepted again, unchanged; what is refused must be refused with words.
 */
#include <stdlib.h>

#include "mgmt/vm_spec.h"

static int check_nic(const json_t *body, json_t **out, struct problem *problem)
{
	return nic_spec_check(body, "", out, problem);
}

static int check_disk(const json_t *body, json_t **out, struct problem *problem)
{
	return disk_spec_check(body, "", out, problem);
}

static int (*const checks[])(const json_t *body, json_t **out, struct problem *problem) = {
	vm_spec_check, check_nic, check_disk, port_spec_check, vm_policy_check, stop_guests_check,
};

static void expect_words(const struct problem *problem)
{
	json_t *json;

	if (problem->status < 400 || problem->status > 599 || !problem->detail[0])
		abort();
	json = problem_json(problem);
	if (!json)
		abort();
	json_decref(json);
}

static void try_check(const json_t *body, unsigned int which)
{
	struct problem problem = { 0 };
	json_t *once, *twice;

	if (checks[which](body, &once, &problem) < 0) {
		expect_words(&problem);
		return;
	}
	if (checks[which](once, &twice, &problem) < 0 || !json_equal(once, twice))
		abort();
	json_decref(once);
	json_decref(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problem problem = { 0 };
	json_t *body;

	if (body_parse((const char *)data, size, &body, &problem) < 0) {
		expect_words(&problem);
		return 0;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(checks); i++)
		try_check(body, i);
	json_decref(body);
	return 0;
}
