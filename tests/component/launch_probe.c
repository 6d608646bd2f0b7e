/*
 * Stands for vmm and vswitch in the test of vmm-launch: says on standard error what it was given,
 * then does what the configuration's "id" tells it (exit-N: ends with status N), or waits.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* The first process of a pid namespace has no default action to end it. */
static void terminated(int signo)
{
	_exit(signo);
}

int main(int argc, char **argv)
{
	static char text[65536];
	const char *id;

	signal(SIGTERM, terminated);
	for (int i = 0; i < argc; i++)
		fprintf(stderr, "arg %s\n", argv[i]);
	for (char **e = environ; *e; e++)
		fprintf(stderr, "env %s\n", *e);
	if (argc > 1 && !strcmp(argv[1], "--config") && read(3, text, sizeof(text) - 1) > 0) {
		fprintf(stderr, "config %s\n", text);
		id = strstr(text, "\"id\":\"exit-");
		if (id)
			return atoi(id + strlen("\"id\":\"exit-"));
	}
	fprintf(stderr, "ready\n");
	for (;;)
		pause();
}
