/* vmmctl: the REST interface of vmm-mgmt for a command line. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include "mgmt/vmmctl/command.h"

static const struct command *const tables[] = { vm_commands, device_commands, host_commands };

static void print_help(void)
{
	puts("usage: vmmctl [--socket PATH] [--json] COMMAND [ARGUMENT...]\n"
	     "\n"
	     "  --socket PATH  the daemon's (default: $VMMCTL_SOCKET, or /run/vmm/api.sock)\n"
	     "  --json         print what the daemon answered, for programs\n"
	     "  --help         this text\n");
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct command *command = tables[t]; command->words; command++)
			printf("  %s%s%s\n      %s\n", command->words,
			       command->arguments[0] ? " " : "", command->arguments,
			       command->help);
	}
	puts("\nexit status: 0 done, 1 refused (one line says why), 2 wrong usage, 3 no daemon");
}

/* How many of the arguments are the command's words; 0: it is not this one. */
static int match_words(const char *words, char **args, int n_args)
{
	int n = 0;

	while (*words) {
		size_t len = strcspn(words, " ");

		if (n == n_args || strlen(args[n]) != len || strncmp(args[n], words, len) != 0)
			return 0;
		n++;
		words += len + (words[len] == ' ');
	}
	return n;
}

static int run_command(const struct context *context, char **args, int n_args)
{
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct command *command = tables[t]; command->words; command++) {
			int words = match_words(command->words, args, n_args);
			int left = n_args - words;

			if (!words)
				continue;
			if (left < command->min_args ||
			    (command->max_args >= 0 && left > command->max_args))
				return usage_error("usage: vmmctl %s %s", command->words,
						   command->arguments);
			return command->run(context, args + words, left);
		}
	}
	return usage_error("there is no command \"%s%s%s\"", args[0], n_args > 1 ? " " : "",
			   n_args > 1 ? args[1] : "");
}

/* For JSON: nothing has been begun that would have to be undone. */
static void *allocate(size_t size)
{
	void *p = malloc(size);

	if (!p) {
		fputs("vmmctl: out of memory\n", stderr);
		exit(STATUS_REFUSED);
	}
	return p;
}

int main(int argc, char **argv)
{
	struct context context = { .rest = { getenv("VMMCTL_SOCKET") } };
	int i = 1, status;

	json_set_alloc_funcs(allocate, free);
	if (!context.rest.socket)
		context.rest.socket = "/run/vmm/api.sock";
	for (; i < argc && !strncmp(argv[i], "--", 2); i++) {
		if (!strcmp(argv[i], "--help")) {
			print_help();
			return STATUS_OK;
		}
		if (!strcmp(argv[i], "--json"))
			context.json = true;
		else if (!strcmp(argv[i], "--socket") && i + 1 < argc)
			context.rest.socket = argv[++i];
		else
			return usage_error("\"%s\": there is no such option", argv[i]);
	}
	if (i == argc)
		return usage_error("a command is needed");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		fputs("vmmctl: libcurl does not start: out of memory?\n", stderr);
		return STATUS_REFUSED;
	}
	status = run_command(&context, argv + i, argc - i);
	curl_global_cleanup();
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	perror("vmmctl: standard output");
	return STATUS_REFUSED;
}
