/*
 * A request line's method and path, on their way to a handler. Input: the method, a blank, the path.
 * What a handler is given names one thing and no more, and is what the path said.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mgmt/api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The path the pattern and its parts make. */
static void expect_same(const struct route_match *match, const char *path)
{
	const char *pattern = match->route->pattern;
	unsigned int n = 0;

	while (*pattern) {
		size_t len = 1;

		if (*pattern == '{') {
			const char *param = match->params[n++];

			len = strlen(param);
			if (!len || strchr(param, '/') || strncmp(path, param, len) != 0)
				abort();
			pattern += strcspn(pattern, "}");
		} else if (*pattern != *path) {
			abort();
		}
		pattern++;
		path += len;
	}
	if (*path)
		abort();
}

static unsigned int count_slashes(const char *path)
{
	unsigned int n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = strndup((const char *)data, size), *path;
	struct route_match match;
	unsigned int slashes;
	int status;

	path = line ? strchr(line, ' ') : NULL;
	if (!path) {
		free(line);
		return 0;
	}
	*path++ = '\0';
	slashes = count_slashes(path);
	/* No separator appears, and no end but the end. */
	if (router_unescape(path) != strlen(path) || count_slashes(path) != slashes)
		abort();
	status = router_find(api_routes, line, path, &match);
	if (status == 0)
		expect_same(&match, path);
	else if (status != 404 && (status != 405 || !match.allowed[0]))
		abort();
	free(line);
	return 0;
}
