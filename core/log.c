#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/bits.h"

#define LOG_LINE_SIZE 1024

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static const char *log_program;
static enum log_level log_max_level = LOG_LEVEL_INFO;

void log_init(const char *program, enum log_level max_level)
{
	log_program = program;
	log_max_level = max_level;
	/* Executed by descriptor, a program is called by that number in ps. */
	(void)prctl(PR_SET_NAME, program);
}

int log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (!strcmp(name, level_names[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Names and strings of guests and peers may hold anything: one message stays one plain line. */
static void log_make_printable(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f)
			text[i] = '?';
	}
}

static void log_write(enum log_level level, uint32_t suppressed, const char *fmt, va_list ap)
{
	char line[LOG_LINE_SIZE];
	char tail[48] = "\n";
	int saved_errno = errno;
	size_t room, len;
	ssize_t written;
	int n;

	if (suppressed)
		snprintf(tail, sizeof(tail), " (%u such lines suppressed)\n", suppressed);
	room = sizeof(line) - strlen(tail) - 1;
	n = snprintf(line, room, "%s: %s: ",
		     log_program ? log_program : program_invocation_short_name,
		     level_names[level]);
	len = n < 0 ? 0 : MIN((size_t)n, room - 1);
	errno = saved_errno; /* %m means the caller's */
	n = vsnprintf(line + len, room - len, fmt, ap);
	if (n > 0 && (size_t)n >= room - len) {
		len = room - 1;
		memcpy(line + len - 3, "...", 3);
	} else if (n > 0) {
		len += (size_t)n;
	}
	log_make_printable(line, len);
	memcpy(line + len, tail, strlen(tail));
	len += strlen(tail);
	/* Nobody is left to be told when standard error does not take it. */
	do {
		written = write(STDERR_FILENO, line, len);
	} while (written < 0 && errno == EINTR);
	errno = saved_errno;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > log_max_level)
		return;
	va_start(ap, fmt);
	log_write(level, 0, fmt, ap);
	va_end(ap);
}

void log_msg_limited(struct ratelimit *rl, enum log_level level, const char *fmt, ...)
{
	uint32_t suppressed;
	va_list ap;

	if (level > log_max_level || !ratelimit_pass(rl, &suppressed))
		return;
	va_start(ap, fmt);
	log_write(level, suppressed, fmt, ap);
	va_end(ap);
}
