#include "mgmt/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/json_text.h"
#include "core/log.h"

struct events {
	char *texts[EVENTS_KEPT]; /* number n is at n % EVENTS_KEPT */
	uint64_t next;
	void (*fn)(void *opaque);
	void *opaque;
};

void time_text(char text[TIME_TEXT_SIZE])
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(text, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, TIME_TEXT_SIZE - len, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

struct events *events_create(void)
{
	struct events *events = calloc(1, sizeof(*events));

	if (events)
		events->next = 1;
	return events;
}

void events_destroy(struct events *events)
{
	if (!events)
		return;
	for (unsigned int i = 0; i < EVENTS_KEPT; i++)
		free(events->texts[i]);
	free(events);
}

void events_emit(struct events *events, const char *type, json_t *data)
{
	char now[TIME_TEXT_SIZE], *json, *text = NULL;

	time_text(now);
	if (data)
		json_object_set_new(data, "time", json_string(now));
	json = data ? json_text_dump(data, JSON_COMPACT, NULL) : NULL;
	json_decref(data);
	if (!json || asprintf(&text, "id: %llu\nevent: %s\ndata: %s\n\n",
			      (unsigned long long)events->next, type, json) < 0) {
		log_err("out of memory for an event");
		free(json);
		return;
	}
	free(json);
	free(events->texts[events->next % EVENTS_KEPT]);
	events->texts[events->next % EVENTS_KEPT] = text;
	events->next++;
	if (events->fn)
		events->fn(events->opaque);
}

uint64_t events_next(const struct events *events)
{
	return events->next;
}

uint64_t events_oldest(const struct events *events)
{
	return events->next > EVENTS_KEPT ? events->next - EVENTS_KEPT : 1;
}

const char *events_text(const struct events *events, uint64_t number)
{
	if (number >= events->next || number < events_oldest(events))
		return NULL;
	return events->texts[number % EVENTS_KEPT];
}

void events_listen(struct events *events, void (*fn)(void *opaque), void *opaque)
{
	events->fn = fn;
	events->opaque = opaque;
}
