#include <stdlib.h>

#include "mgmt/api.h"
#include "mgmt/events.h"
#include "mgmt/http_events.h"

void api_events_stream(struct http_request *request)
{
	const struct events *events = request_mgmt(request)->events;
	const char *last = request_header(request, "Last-Event-ID");
	uint64_t next = events_next(events);
	unsigned long long n;
	char *end;

	if (last && last[0] >= '0' && last[0] <= '9') {
		n = strtoull(last, &end, 10);
		/* A number from before a restart of ours is not one we have given. */
		if (!*end && n < next)
			next = n + 1;
		else if (!*end)
			next = 0; /* all we know, and that something was lost */
	}
	request_reply_events(request, next);
}
