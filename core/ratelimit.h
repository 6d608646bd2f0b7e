/* At most `burst` events in each window of `window_ms`. Any thread, lock-free. */
#ifndef CORE_RATELIMIT_H
#define CORE_RATELIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ratelimit {
	uint32_t window_ms;
	uint32_t burst;
	_Atomic uint64_t window_start_ms; /* CLOCK_MONOTONIC */
	_Atomic uint32_t passed;
	_Atomic uint32_t suppressed;
};

#define RATELIMIT_INIT(window_ms_, burst_) { .window_ms = (window_ms_), .burst = (burst_) }

/*
 * Whether the event may pass. *suppressed is set to the number held back since the last one
 * that passed (0 unless this one opens a window).
 */
bool ratelimit_pass(struct ratelimit *rl, uint32_t *suppressed);

/* The same with the clock given, for tests. */
bool ratelimit_pass_at(struct ratelimit *rl, uint64_t now_ms, uint32_t *suppressed);

#endif
