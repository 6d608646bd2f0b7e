/*
 * JSON texts into values, and back. jansson's parser does not bear memory running out: it may return
 * values short of a letter, call the text invalid, or abort. Here that is an error like any other, and
 * called by its name.
 */
#ifndef CORE_JSON_TEXT_H
#define CORE_JSON_TEXT_H

#include <jansson.h>

#include "core/bits.h"

/*
 * The main thread only. Parses a text with jansson's flags. 0 and a new reference; -EINVAL: error says
 * where and what; -ENOMEM: error->text says so. The text's depth must have been looked at
 * (jsonrpc_depth_within) unless we wrote it ourselves.
 */
must_check int json_text_load(const char *text, size_t len, size_t flags, json_t **out,
			      json_error_t *error);

/*
 * How often jansson was refused memory since json_text_watch() (or the first load). Who builds a value of
 * many parts need not look at each: when the number is another at the end, some may be missing.
 */
void json_text_watch(void);
unsigned int json_text_refusals(void);

/*
 * The text of a value with jansson's flags, malloc'd and terminated with room for one byte more, its
 * length in *len (may be NULL); NULL when out of memory. (json_dumps leaves out a name for which there
 * was no memory, and calls that success.)
 */
char *json_text_dump(const json_t *json, size_t flags, size_t *len);

#endif
