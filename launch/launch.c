#include "launch/launch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int launch_refuse(struct launch_error *error, int code, const char *field, const char *fmt, ...)
{
	va_list args;

	error->code = code;
	snprintf(error->field, sizeof(error->field), "%s", field ? field : "");
	va_start(args, fmt);
	vsnprintf(error->why, sizeof(error->why), fmt, args);
	va_end(args);
	return -EINVAL;
}
