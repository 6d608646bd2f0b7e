#include "mgmt/router.h"

#include <ctype.h>
#include <stdio.h>

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

size_t router_unescape(char *path)
{
	char *to = path;

	for (const char *from = path; *from; from++) {
		int c;

		*to++ = *from;
		if (*from != '%' || !isxdigit((unsigned char)from[1]) ||
		    !isxdigit((unsigned char)from[2]))
			continue;
		c = hex_digit(from[1]) << 4 | hex_digit(from[2]);
		if (c < 0x80 && (isalnum(c) || (c && strchr("-._~", c)))) {
			to[-1] = (char)c;
			from += 2;
		}
	}
	*to = '\0';
	return (size_t)(to - path);
}

static bool pattern_matches(const char *pattern, const char *path, struct route_match *match)
{
	unsigned int n = 0;

	while (*pattern && *path) {
		if (*pattern == '{') {
			size_t len = strcspn(path, "/");

			if (!len || len >= ROUTER_PARAM_SIZE || n == ROUTER_MAX_PARAMS)
				return false;
			memcpy(match->params[n], path, len);
			match->params[n++][len] = '\0';
			path += len;
			pattern += strcspn(pattern, "}") + 1;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*pattern && !*path;
}

int router_find(const struct route *routes, const char *method, const char *path,
		struct route_match *match)
{
	size_t len;

	memset(match, 0, sizeof(*match));
	for (const struct route *route = routes; route->method; route++) {
		if (!pattern_matches(route->pattern, path, match))
			continue;
		if (!strcmp(route->method, method)) {
			match->route = route;
			return 0;
		}
		len = strlen(match->allowed);
		snprintf(match->allowed + len, sizeof(match->allowed) - len, "%s%s",
			 len ? ", " : "", route->method);
	}
	return match->allowed[0] ? 405 : 404;
}
