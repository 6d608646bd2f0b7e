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
	char *start, *next, *end; /* during a load */
	bool used;		  /* memory has run out in it */
} reserve;

static unsigned int refusals;

static void *watched_malloc(size_t size)
{
	void *p = reserve.used ? NULL : malloc(size);

	if (p)
		return p;
	refusals++;
	reserve.used = reserve.start;
	if (size < 32 || size & (size - 1) || size > (size_t)(reserve.end - reserve.next))
		return NULL;
	p = reserve.next;
	reserve.next += size;
	return p;
}

static void watched_free(void *p)
{
	if (!reserve.start || (char *)p < reserve.start || (char *)p >= reserve.end)
		free(p);
}

void json_text_watch(void)
{
	json_set_alloc_funcs(watched_malloc, watched_free);
}

unsigned int json_text_refusals(void)
{
	return refusals;
}

int json_text_load(const char *text, size_t len, size_t flags, json_t **out, json_error_t *error)
{
	bool ran_out;

	json_text_watch();
	*error = (json_error_t){ .line = -1, .column = -1, .text = "out of memory" };
	*out = NULL;
	reserve.next = reserve.start = malloc(RESERVE_BYTES(len));
	if (!reserve.start)
		return -ENOMEM;
	reserve.end = reserve.start + RESERVE_BYTES(len);
	*out = json_loadb(text, len, flags, error);
	ran_out = reserve.used;
	if (ran_out) {
		json_decref(*out);
		*out = NULL;
		snprintf(error->text, sizeof(error->text), "out of memory");
	}
	free(reserve.start);
	reserve.start = reserve.next = reserve.end = NULL;
	reserve.used = false;
	if (ran_out)
		return -ENOMEM;
	return *out ? 0 : -EINVAL;
}

char *json_text_dump(const json_t *json, size_t flags, size_t *len)
{
	size_t size = json_dumpb(json, NULL, 0, flags);
	char *text = size ? malloc(size + 2) : NULL; /* and an end of line, for who wants one */

	if (!text)
		return NULL;
	if (json_dumpb(json, text, size, flags) != size) {
		free(text);
		return NULL;
	}
	text[size] = '\0';
	if (len)
		*len = size;
	return text;
}
