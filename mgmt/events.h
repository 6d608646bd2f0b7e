/*
 * What happened, numbered, the last EVENTS_KEPT of it remembered. Readers keep the number of the
 * event they want next. Main thread only.
 */
#ifndef MGMT_EVENTS_H
#define MGMT_EVENTS_H

#include <jansson.h>

#include "core/bits.h"

#define EVENTS_KEPT 256u

struct events;

struct events *events_create(void); /* NULL: out of memory */
void events_destroy(struct events *events);

/* type: static, one word. data: an object, stolen; "time" is added. */
void events_emit(struct events *events, const char *type, json_t *data);

/* The number the next event will have; the first is 1. */
uint64_t events_next(const struct events *events);
/* The oldest number still remembered (events_next when there is none). */
uint64_t events_oldest(const struct events *events);
/* The event as text/event-stream has it, ending in an empty line. NULL: not remembered. */
const char *events_text(const struct events *events, uint64_t number);

/* Is called after each event. One listener; NULL takes it away. */
void events_listen(struct events *events, void (*fn)(void *opaque), void *opaque);

/* RFC 3339, UTC, milliseconds. */
#define TIME_TEXT_SIZE 32u
void time_text(char text[TIME_TEXT_SIZE]);

#endif
