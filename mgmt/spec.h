/*
 * Checks a JSON object against what is allowed, member by member, copying what is good (with
 * defaults filled in) and naming what is not. The first fault sticks; later calls do nothing. Pure.
 */
#ifndef MGMT_SPEC_H
#define MGMT_SPEC_H

#include "mgmt/problem.h"

#define SPEC_MAX_MEMBERS 16u
#define SPEC_ID_MAX 32u
#define SPEC_PATH_MAX 1023u /* bytes of a file name */

struct spec {
	const json_t *in;
	json_t *out; /* new; the checked copy */
	char path[64]; /* of `in` within the body: "", "memory", "nics[0]" */
	struct problem *problem;
	bool failed;
	const char *known[SPEC_MAX_MEMBERS]; /* members looked at */
	unsigned int n_known;
};

enum spec_need { SPEC_OPTIONAL, SPEC_REQUIRED };

/* `in` may be anything: what is no object is the first fault. */
void spec_begin(struct spec *spec, const json_t *in, const char *path, struct problem *problem);
/* Refuses unknown members and hands out the copy. 0, or -EINVAL with the problem told. */
must_check int spec_end(struct spec *spec, json_t **out);

/* The fault of one member: "found X; allowed: ...". Status 422. */
void spec_refuse(struct spec *spec, const char *key, const char *allowed);

void spec_uint(struct spec *spec, const char *key, enum spec_need need, json_int_t min,
	       json_int_t max, json_int_t fallback);
void spec_bool(struct spec *spec, const char *key, bool fallback);
/* fallback NULL: the member stays away when it is not given. */
void spec_text(struct spec *spec, const char *key, enum spec_need need, size_t min, size_t max,
	       const char *fallback);
/* choices: ends with NULL, the first is the default. */
void spec_choice(struct spec *spec, const char *key, enum spec_need need,
		 const char *const *choices);
void spec_path(struct spec *spec, const char *key, enum spec_need need);
void spec_id(struct spec *spec, const char *key);

typedef int (*spec_fn)(const json_t *in, const char *path, json_t **out, struct problem *problem);
void spec_object(struct spec *spec, const char *key, enum spec_need need, spec_fn fn);
/* Always there in the copy, [] when not given. */
void spec_array(struct spec *spec, const char *key, size_t max, spec_fn fn);

/* ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ */
bool spec_id_valid(const char *id);

#endif
