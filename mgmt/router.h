/*
 * Finds the route of a request: a method and a pattern such as "/v1/vms/{vm}/nics/{nic}", whose
 * {parts} are handed to the handler. Pure.
 */
#ifndef MGMT_ROUTER_H
#define MGMT_ROUTER_H

#include "core/bits.h"

#define ROUTER_MAX_PARAMS 2u
#define ROUTER_PARAM_SIZE 72u /* a longer part names nothing we have */

struct http_request;

#define ROUTE_WAITS 1u /* for another process, maybe: the request is set aside until then */
#define ROUTE_TURN 2u /* costs more than a look into memory: takes turns with others that do */

struct route {
	const char *method;
	const char *pattern;
	void (*handle)(struct http_request *request);
	unsigned int flags;
};

struct route_match {
	const struct route *route;
	char params[ROUTER_MAX_PARAMS][ROUTER_PARAM_SIZE];
	char allowed[64]; /* with 405: the path's methods, for the Allow header */
};

/*
 * In place; the new length. Only what need not be escaped is unescaped (RFC 3986 2.3): no %2F becomes
 * a separator and no %00 an end, and no name of ours has such a character.
 */
size_t router_unescape(char *path);

/* routes ends with method == NULL. 0, or the HTTP status of the refusal: 404 or 405. */
must_check int router_find(const struct route *routes, const char *method, const char *path,
			   struct route_match *match);

#endif
