/*
 * One line a message on standard error: "program: level: text".
 * Any thread. A message is one write(2), so lines of several threads never mix.
 * Levels: error = something asked for failed; warning = it works, but less well than asked;
 * info = a change of state an operator may want; debug = for developers, off by default.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "core/ratelimit.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* program: static string; the calling thread takes it as its name. Before any thread is started. */
void log_init(const char *program, enum log_level max_level);

/* "error", "warning", "info" or "debug"; -EINVAL otherwise. */
int log_level_parse(const char *name, enum log_level *level);

__attribute__((format(printf, 2, 3))) void log_msg(enum log_level level, const char *fmt, ...);

#define log_err(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * For what a guest or a peer can cause: at most 5 lines per 10 s and place; the number
 * suppressed is said with the next line that passes.
 */
#define log_guest(...)                                                      \
	do {                                                                \
		static struct ratelimit log_rl_ = RATELIMIT_INIT(10000, 5); \
		log_msg_limited(&log_rl_, LOG_LEVEL_WARNING, __VA_ARGS__);  \
	} while (0)

__attribute__((format(printf, 3, 4))) void log_msg_limited(struct ratelimit *rl,
							    enum log_level level,
							    const char *fmt, ...);

#endif
