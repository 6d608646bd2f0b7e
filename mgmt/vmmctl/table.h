/* Answers for people: lists as tables, objects as lines. Text of guests is made printable. */
#ifndef MGMT_VMMCTL_TABLE_H
#define MGMT_VMMCTL_TABLE_H

#include <jansson.h>

struct column {
	const char *heading;
	const char *path; /* dotted, into each element (a number: of an array); "drops" of counters are summed up */
};

/* columns: ends with heading == NULL. */
void table_print(const json_t *items, const struct column *columns);

/* "memory.size_mib  512", a line a member. */
void lines_print(const json_t *object);

#endif
