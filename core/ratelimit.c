#include "core/ratelimit.h"

#include "core/clock.h"

/*
 * Whoever moves the window's start resets the counts. A thread that counts between the two steps
 * may be forgotten, so a window's edge can let one or two more pass: good enough to protect a
 * log, and it costs no lock.
 */
bool ratelimit_pass_at(struct ratelimit *rl, uint64_t now_ms, uint32_t *suppressed)
{
	uint64_t start = atomic_load(&rl->window_start_ms);

	*suppressed = 0;
	if (rl->burst && now_ms >= start + rl->window_ms &&
	    atomic_compare_exchange_strong(&rl->window_start_ms, &start, now_ms)) {
		atomic_store(&rl->passed, 1);
		*suppressed = atomic_exchange(&rl->suppressed, 0);
		return true;
	}
	/* Looked at before it is counted, so that it cannot wrap. */
	if (atomic_load(&rl->passed) < rl->burst && atomic_fetch_add(&rl->passed, 1) < rl->burst)
		return true;
	atomic_fetch_add(&rl->suppressed, 1);
	return false;
}

bool ratelimit_pass(struct ratelimit *rl, uint32_t *suppressed)
{
	return ratelimit_pass_at(rl, clock_now_ms(), suppressed);
}
