/* How much of everything the HTTP server gives to its clients, and what it counts of them. */
#ifndef MGMT_HTTP_LIMITS_H
#define MGMT_HTTP_LIMITS_H

#include <stdint.h>

#define HTTP_MAX_CONNECTIONS 512u
#define HTTP_MAX_ASIDE 256u		/* requests that wait for another process */
#define HTTP_MAX_HELD (64u << 20)	/* bytes of bodies and answers under way */
#define HTTP_HEAD_MAX_SIZE (32u << 10)	/* request line and headers */

struct http_stats {
	unsigned int open;    /* connections */
	unsigned int aside;   /* requests that wait for another process */
	unsigned int streams; /* readers of events */
	uint64_t accepted;
	uint64_t forbidden;   /* connections of users who may not */
	uint64_t timed_out;
	uint64_t crowded_out; /* ended to make room for others */
	uint64_t busy;	      /* requests refused, for HTTP_MAX_ASIDE wait already */
};

#endif
