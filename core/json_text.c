#include "core/json_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * jansson 2.14 does not look whether the buffer in which it gathers a token could be grown: then it
 * drops letters, asserts or reads past the end. The buffer's size is a power of two from 32 on. Once
 * memory has run out, what has such a size comes from the reserve, and all else is refused, at which
 * the parser gives up. Until then the reserve serves, in bytes of text: the buffer (4 each), strings
 * whose own size is such (2) and tables of arrays (4).
 */
#define RESERVE_BYTES(len) (12 * (len) + 4096)

static struct {
	char *start, *next, *end;
	bool used; /* memory has run out */
} reserve;

static void *reserve_malloc(size_t size)
{
	void *p = reserve.used ? NULL : malloc(size);

	if (p)
		return p;
	reserve.used = true;
	if (size < 32 || size & (size - 1) || size > (size_t)(reserve.end - reserve.next))
		return NULL;
	p = reserve.next;
	reserve.next += size;
	return p;
}

static void reserve_free(void *p)
{
	if ((char *)p < reserve.start || (char *)p >= reserve.end)
		free(p);
}

static void load(const char *text, size_t len, size_t flags, json_t **out, json_error_t *error)
{
	json_malloc_t before_malloc;
	json_free_t before_free;

	json_get_alloc_funcs(&before_malloc, &before_free);
	json_set_alloc_funcs(reserve_malloc, reserve_free);
	*out = json_loadb(text, len, flags, error);
	if (reserve.used) {
		json_decref(*out);
		*out = NULL;
	}
	json_set_alloc_funcs(before_malloc, before_free);
}

int json_text_load(const char *text, size_t len, size_t flags, json_t **out, json_error_t *error)
{
	*error = (json_error_t){ .line = -1, .column = -1, .text = "out of memory" };
	*out = NULL;
	reserve.start = malloc(RESERVE_BYTES(len));
	if (!reserve.start)
		return -ENOMEM;
	reserve.next = reserve.start;
	reserve.end = reserve.start + RESERVE_BYTES(len);
	reserve.used = false;
	load(text, len, flags, out, error);
	free(reserve.start);
	if (!reserve.used)
		return *out ? 0 : -EINVAL;
	snprintf(error->text, sizeof(error->text), "out of memory");
	return -ENOMEM;
}
