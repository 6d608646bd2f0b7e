/*
 * JSON texts into values. jansson's parser does not bear memory running out: it may return values short
 * of a letter, call the text invalid, or abort. Here that is an error like any other, and called by its
 * name. The main thread only.
 */
#ifndef CORE_JSON_TEXT_H
#define CORE_JSON_TEXT_H

#include <jansson.h>

#include "core/bits.h"

/*
 * Parses a text with jansson's flags. 0 and a new reference; -EINVAL: error says where and what;
 * -ENOMEM: error->text says so. The text's depth must have been looked at (jsonrpc_depth_within) unless
 * we wrote it ourselves.
 */
must_check int json_text_load(const char *text, size_t len, size_t flags, json_t **out,
			      json_error_t *error);

#endif
