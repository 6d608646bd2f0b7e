#include "core/json_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool memory_ran_out;

static void *watched_malloc(size_t size)
{
	void *p = malloc(size);

	memory_ran_out |= !p;
	return p;
}

int json_text_load(const char *text, size_t len, size_t flags, json_t **out, json_error_t *error)
{
	json_malloc_t before_malloc;
	json_free_t before_free;

	json_get_alloc_funcs(&before_malloc, &before_free);
	json_set_alloc_funcs(watched_malloc, free);
	memory_ran_out = false;
	*out = json_loadb(text, len, flags, error);
	json_set_alloc_funcs(before_malloc, before_free);
	if (memory_ran_out) {
		json_decref(*out);
		*out = NULL;
		snprintf(error->text, sizeof(error->text), "out of memory");
		return -ENOMEM;
	}
	return *out ? 0 : -EINVAL;
}
