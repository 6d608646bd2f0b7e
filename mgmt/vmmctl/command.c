#include "mgmt/vmmctl/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("vmmctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (see vmmctl --help)\n", stderr);
	return STATUS_USAGE;
}

int show_list(const struct context *context, const char *path, const struct column *columns)
{
	struct rest_answer answer;
	int status = rest_call(&context->rest, "GET", path, NULL, &answer);

	if (status)
		return status;
	if (context->json)
		fputs(answer.text, stdout);
	else
		table_print(json_object_get(answer.json, "items"), columns);
	rest_release(&answer);
	return STATUS_OK;
}

int show_object(const struct context *context, const char *path)
{
	struct rest_answer answer;
	int status = rest_call(&context->rest, "GET", path, NULL, &answer);

	if (status)
		return status;
	if (context->json || !answer.json)
		fputs(answer.text ? answer.text : "", stdout);
	else
		lines_print(answer.json);
	rest_release(&answer);
	return STATUS_OK;
}

int do_call(const struct context *context, const char *method, const char *path, json_t *body)
{
	struct rest_answer answer;
	int status = rest_call(&context->rest, method, path, body, &answer);

	if (status)
		return status;
	if (context->json && answer.text)
		fputs(answer.text, stdout);
	rest_release(&answer);
	return STATUS_OK;
}

int parse_number(const char *what, const char *text, json_int_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno)
		return usage_error("%s: found \"%s\"; allowed: a number", what, text);
	return 0;
}

json_t *parse_value(const char *key, const char *text)
{
	bool digits = text[0] && strspn(text, "0123456789") == strlen(text);

	if (!strcmp(key, "serial"))
		return json_string(text);
	if (digits && strlen(text) < 19)
		return json_integer(atoll(text));
	if (!strcmp(text, "yes") || !strcmp(text, "no"))
		return json_boolean(text[0] == 'y');
	return json_string(text);
}

int check_id(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > 64 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
		return usage_error("\"%s\" is no id: a-z, 0-9 and -", text);
	return 0;
}

json_t *read_json(const char *path)
{
	json_error_t error;
	json_t *json;

	if (strcmp(path, "-") == 0)
		json = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);
	else
		json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fprintf(stderr, "vmmctl: %s: line %d: %s\n", path, error.line, error.text);
	return json;
}
