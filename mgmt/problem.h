/*
 * What is wrong with a request, as a value: an HTTP status, one line of words, and the member of
 * the body at fault. It becomes an RFC 9457 problem detail. Any thread.
 */
#ifndef MGMT_PROBLEM_H
#define MGMT_PROBLEM_H

#include <jansson.h>

#include "core/bits.h"

struct problem {
	int status;
	char field[96]; /* dotted path ("nics[0].mac"); "" when none is at fault */
	char detail[400];
	bool gone; /* the process that was asked went away before it answered */
};

/* How an operation ended: NULL when it succeeded. The problem is borrowed. */
typedef void (*done_fn)(void *opaque, const struct problem *problem);

/* field may be NULL. */
__attribute__((format(printf, 4, 5))) void problem_set(struct problem *problem, int status,
							const char *field, const char *fmt, ...);

/* What an answer of another process means for our client. `what`: who was asked for what. */
void problem_from_rpc(struct problem *problem, const char *what, int code, const char *message,
		      const json_t *data);

const char *problem_title(int status);

/* A JSON string of words that may not be UTF-8; NULL when out of memory. */
json_t *problem_text(const char *text);

/* A new reference; NULL when out of memory. */
json_t *problem_json(const struct problem *problem);

#endif
