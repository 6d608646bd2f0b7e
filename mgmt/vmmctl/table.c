#include "mgmt/vmmctl/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bits.h"

#define MAX_COLUMNS 10
#define CELL_SIZE 256

static void make_printable(char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = ' ';
	}
}

/* An object of numbers: their sum. */
static json_int_t sum(const json_t *object)
{
	json_int_t total = 0;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
		total += json_integer_value(value);
	return total;
}

static void value_text(const json_t *value, char *text, size_t size)
{
	switch (value ? json_typeof(value) : JSON_NULL) {
	case JSON_STRING:
		snprintf(text, size, "%s", json_string_value(value));
		break;
	case JSON_INTEGER:
		snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		snprintf(text, size, "%g", json_real_value(value));
		break;
	case JSON_TRUE:
		snprintf(text, size, "yes");
		break;
	case JSON_FALSE:
		snprintf(text, size, "no");
		break;
	case JSON_OBJECT:
		snprintf(text, size, "%" JSON_INTEGER_FORMAT, sum(value));
		break;
	default:
		snprintf(text, size, "-");
	}
	make_printable(text);
}

static const json_t *follow(const json_t *value, const char *path)
{
	char key[64];

	while (*path) {
		size_t len = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10)) :
					       json_object_get(value, key);
		path += len + (path[len] == '.');
	}
	return value;
}

static void cell_text(const json_t *item, const struct column *column, char *text)
{
	value_text(follow(item, column->path), text, CELL_SIZE);
}

static void print_cell(const char *text, size_t width, bool last)
{
	if (last)
		printf("%s\n", text);
	else
		printf("%-*s  ", (int)width, text);
}

void table_print(const json_t *items, const struct column *columns)
{
	size_t widths[MAX_COLUMNS] = { 0 }, i;
	char text[CELL_SIZE];
	unsigned int n = 0;
	json_t *item;

	while (columns[n].heading && n < MAX_COLUMNS)
		n++;
	for (unsigned int c = 0; c < n; c++) {
		widths[c] = strlen(columns[c].heading);
		json_array_foreach((json_t *)items, i, item) {
			cell_text(item, &columns[c], text);
			widths[c] = MAX(widths[c], strlen(text));
		}
	}
	for (unsigned int c = 0; c < n; c++)
		print_cell(columns[c].heading, widths[c], c + 1 == n);
	json_array_foreach((json_t *)items, i, item) {
		for (unsigned int c = 0; c < n; c++) {
			cell_text(item, &columns[c], text);
			print_cell(text, widths[c], c + 1 == n);
		}
	}
}

static void lines_print_under(const json_t *value, const char *path)
{
	char deeper[128], text[1100];
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, key, member) {
			snprintf(deeper, sizeof(deeper), "%s%s%s", path, path[0] ? "." : "", key);
			lines_print_under(member, deeper);
		}
	} else if (json_is_array(value)) {
		json_array_foreach((json_t *)value, i, member) {
			snprintf(deeper, sizeof(deeper), "%s[%zu]", path, i);
			lines_print_under(member, deeper);
		}
	} else {
		value_text(value, text, sizeof(text));
		printf("%-28s %s\n", path, text);
	}
}

void lines_print(const json_t *object)
{
	lines_print_under(object, "");
}
