#include "mgmt/spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_text.h"

void spec_begin(struct spec *spec, const json_t *in, const char *path, struct problem *problem)
{
	*spec = (struct spec){ .in = in, .problem = problem };
	snprintf(spec->path, sizeof(spec->path), "%s", path);
	spec->out = json_object();
	if (!json_is_object(in)) {
		spec->failed = true;
		problem_set(problem, 422, path[0] ? path : NULL, "%s must be an object",
			    path[0] ? path : "the body");
	} else if (!spec->out) {
		spec->failed = true;
		problem_set(problem, 503, NULL, "out of memory");
	}
}

static void spec_name(const struct spec *spec, const char *key, char *name, size_t size)
{
	snprintf(name, size, "%s%s%s", spec->path, spec->path[0] ? "." : "", key);
}

void spec_refuse(struct spec *spec, const char *key, const char *allowed)
{
	const json_t *value = json_object_get(spec->in, key);
	char name[96], *found;

	if (spec->failed)
		return;
	spec->failed = true;
	spec_name(spec, key, name, sizeof(name));
	found = value ? json_text_dump(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII,
				       NULL) :
			NULL;
	problem_set(spec->problem, 422, name, "%s: found %.60s%s; allowed: %s", name,
		    value ? (found ? found : "?") : "nothing",
		    found && strlen(found) > 60 ? "..." : "", allowed);
	free(found);
}

/* The member, once it is noted as a known one; NULL when absent or after a fault. */
static const json_t *spec_member(struct spec *spec, const char *key)
{
	if (spec->failed)
		return NULL;
	if (spec->n_known < SPEC_MAX_MEMBERS)
		spec->known[spec->n_known++] = key;
	return json_object_get(spec->in, key);
}

static void spec_store(struct spec *spec, const char *key, json_t *value)
{
	if (!spec->failed && json_object_set_new(spec->out, key, value) < 0) {
		spec->failed = true;
		problem_set(spec->problem, 503, NULL, "out of memory");
	} else if (spec->failed) {
		json_decref(value);
	}
}

static bool spec_is_known(const struct spec *spec, const char *key)
{
	for (unsigned int i = 0; i < spec->n_known; i++) {
		if (!strcmp(spec->known[i], key))
			return true;
	}
	return false;
}

static void spec_refuse_unknown(struct spec *spec)
{
	char name[96];
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)spec->in, key, value) {
		if (spec_is_known(spec, key))
			continue;
		spec->failed = true;
		spec_name(spec, key, name, sizeof(name));
		problem_set(spec->problem, 422, name, "%s: there is no such member", name);
		return;
	}
}

int spec_end(struct spec *spec, json_t **out)
{
	if (!spec->failed)
		spec_refuse_unknown(spec);
	if (spec->failed) {
		json_decref(spec->out);
		return -EINVAL;
	}
	*out = spec->out;
	return 0;
}

void spec_uint(struct spec *spec, const char *key, enum spec_need need, json_int_t min,
	       json_int_t max, json_int_t fallback)
{
	const json_t *value = spec_member(spec, key);
	json_int_t n = value ? json_integer_value(value) : fallback;
	char allowed[80];

	if ((!value && need == SPEC_REQUIRED) ||
	    (value && (!json_is_integer(value) || n < min || n > max))) {
		snprintf(allowed, sizeof(allowed),
			 "an integer from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT, min,
			 max);
		spec_refuse(spec, key, allowed);
	}
	spec_store(spec, key, json_integer(n));
}

void spec_bool(struct spec *spec, const char *key, bool fallback)
{
	const json_t *value = spec_member(spec, key);

	if (value && !json_is_boolean(value))
		spec_refuse(spec, key, "true or false");
	spec_store(spec, key, json_boolean(value ? json_is_true(value) : fallback));
}

static bool text_is_plain(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

void spec_text(struct spec *spec, const char *key, enum spec_need need, size_t min, size_t max,
	       const char *fallback)
{
	const json_t *value = spec_member(spec, key);
	size_t len = json_string_length(value);
	char allowed[80];

	if ((!value && need == SPEC_REQUIRED) ||
	    (value && (!json_is_string(value) || len < min || len > max ||
		       !text_is_plain(json_string_value(value))))) {
		snprintf(allowed, sizeof(allowed),
			 "a string of %zu to %zu bytes without control characters", min, max);
		spec_refuse(spec, key, allowed);
	}
	if (value || fallback)
		spec_store(spec, key, json_string(value ? json_string_value(value) : fallback));
}

void spec_choice(struct spec *spec, const char *key, enum spec_need need,
		 const char *const *choices)
{
	const json_t *value = spec_member(spec, key);
	const char *text = value ? json_string_value(value) : choices[0];
	char allowed[160] = "one of";
	size_t len = strlen(allowed);

	for (const char *const *choice = choices; *choice; choice++) {
		if (text && !strcmp(text, *choice) && (value || need == SPEC_OPTIONAL)) {
			spec_store(spec, key, json_string(text));
			return;
		}
		len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, " \"%s\"", *choice);
		len = MIN(len, sizeof(allowed) - 1);
	}
	spec_refuse(spec, key, allowed);
}

void spec_path(struct spec *spec, const char *key, enum spec_need need)
{
	const json_t *value = spec_member(spec, key);
	const char *path = json_string_value(value);

	if (!value && need == SPEC_OPTIONAL)
		return;
	if (!path || path[0] != '/' || strlen(path) > SPEC_PATH_MAX || !text_is_plain(path))
		spec_refuse(spec, key, "an absolute path of 1023 bytes at most");
	else
		spec_store(spec, key, json_string(path));
}

bool spec_id_valid(const char *id)
{
	size_t len = strlen(id);

	if (!len || len > SPEC_ID_MAX || id[0] == '-' || id[len - 1] == '-')
		return false;
	return strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

void spec_id(struct spec *spec, const char *key)
{
	const char *id = json_string_value(spec_member(spec, key));

	if (!id || !spec_id_valid(id))
		spec_refuse(spec, key,
			    "1 to 32 of a-z, 0-9 and -, with no - at the beginning or the end");
	else
		spec_store(spec, key, json_string(id));
}

static int spec_descend(struct spec *spec, const json_t *in, const char *name, spec_fn fn,
			json_t **out)
{
	int err = fn(in, name, out, spec->problem);

	if (err)
		spec->failed = true;
	return err;
}

void spec_object(struct spec *spec, const char *key, enum spec_need need, spec_fn fn)
{
	const json_t *value = spec_member(spec, key);
	char name[96];
	json_t *out;

	if (spec->failed || (!value && need == SPEC_OPTIONAL))
		return;
	spec_name(spec, key, name, sizeof(name));
	if (!value)
		spec_refuse(spec, key, "an object");
	else if (spec_descend(spec, value, name, fn, &out) == 0)
		spec_store(spec, key, out);
}

void spec_array(struct spec *spec, const char *key, size_t max, spec_fn fn)
{
	const json_t *value = spec_member(spec, key);
	char allowed[64], name[96];
	json_t *array = json_array();
	json_t *out;

	if (value && (!json_is_array(value) || json_array_size(value) > max)) {
		snprintf(allowed, sizeof(allowed), "an array of %zu elements at most", max);
		spec_refuse(spec, key, allowed);
	}
	for (size_t i = 0; !spec->failed && i < json_array_size(value); i++) {
		int len;

		spec_name(spec, key, name, sizeof(name));
		len = (int)strlen(name);
		snprintf(name + len, sizeof(name) - (size_t)len, "[%zu]", i);
		if (spec_descend(spec, json_array_get(value, i), name, fn, &out) == 0)
			json_array_append_new(array, out);
	}
	spec_store(spec, key, array);
}
