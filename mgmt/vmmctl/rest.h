/* One REST call over the daemon's Unix socket. Single-threaded. */
#ifndef MGMT_VMMCTL_REST_H
#define MGMT_VMMCTL_REST_H

#include <jansson.h>

#include "core/bits.h"

/* Exit statuses of vmmctl. */
enum { STATUS_OK = 0, STATUS_REFUSED = 1, STATUS_USAGE = 2, STATUS_UNREACHABLE = 3 };

struct rest {
	const char *socket;
};

struct rest_answer {
	json_t *json; /* owned; NULL when there is none, or it is text */
	char *text;   /* owned; the body as it came */
};

/*
 * body is stolen (NULL: none). STATUS_OK and the answer, to be released by rest_release; or
 * another status, after one line was printed.
 */
must_check int rest_call(const struct rest *rest, const char *method, const char *path,
			 json_t *body, struct rest_answer *answer);
void rest_release(struct rest_answer *answer);

/* Copies an endless answer to standard output until it ends, which is a failure. */
must_check int rest_follow(const struct rest *rest, const char *path);

#endif
