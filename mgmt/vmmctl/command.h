/* vmmctl's commands: a table of words, and who carries them out. */
#ifndef MGMT_VMMCTL_COMMAND_H
#define MGMT_VMMCTL_COMMAND_H

#include "mgmt/vmmctl/rest.h"
#include "mgmt/vmmctl/table.h"

struct context {
	struct rest rest;
	bool json; /* answers as the daemon gave them */
};

struct command {
	const char *words; /* "vm list" */
	const char *arguments; /* for the help */
	const char *help;
	int min_args, max_args; /* after the words; max_args -1: any number */
	int (*run)(const struct context *context, char **args, int n_args);
};

extern const struct command vm_commands[];	/* end with words == NULL */
extern const struct command device_commands[];
extern const struct command host_commands[];

/* Calls and prints: JSON with --json; else a table of "items", or lines. An exit status. */
int show_list(const struct context *context, const char *path, const struct column *columns);
int show_object(const struct context *context, const char *path);
/* Calls for effect; the answer is printed with --json only. body is stolen. */
int do_call(const struct context *context, const char *method, const char *path, json_t *body);

__attribute__((format(printf, 1, 2))) int usage_error(const char *fmt, ...);

/* Decimal, not negative. 0 or STATUS_USAGE after a line was printed. */
must_check int parse_number(const char *what, const char *text, json_int_t *number);
/* Numbers, yes and no by their looks, else text; a serial number is text. NULL: no UTF-8. */
json_t *parse_value(const char *key, const char *text);
/* Ids become parts of paths. 0 or STATUS_USAGE after a line was printed. */
must_check int check_id(const char *text);
/* FILE or -; NULL after a line was printed. */
json_t *read_json(const char *path);

#endif
