/*
 * The event loop of a program's main thread: libevent plus cross-thread post.
 *
 * Unless a function says "any thread", call it on the loop's thread (or before loop_run).
 * Callbacks run on the loop's thread. Removing a watch from within any callback is allowed,
 * its own included; it is not called again afterwards.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include "core/bits.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_notice;
struct loop_signal;

#define LOOP_READ 1u
#define LOOP_WRITE 2u
#define LOOP_EDGE 4u /* edge-triggered: for descriptors a peer may keep ready */

typedef void (*loop_fn)(void *opaque);
typedef void (*loop_io_fn)(void *opaque, int fd, unsigned int events);

struct loop *loop_create(void); /* NULL: out of memory or descriptors */
void loop_destroy(struct loop *loop);

/* Runs until loop_stop. 0 or -errno. */
int loop_run(struct loop *loop);
/* Any thread, and signal handlers of loop_signal. */
void loop_stop(struct loop *loop);

/*
 * Runs fn(opaque) on the loop's thread, in order of posting. Any thread. -ENOMEM, or 0 and it
 * will run, unless the loop is destroyed first (then it never runs).
 */
must_check int loop_post(struct loop *loop, loop_fn fn, void *opaque);

/* Like loop_post, but returns after fn has run; from the loop's own thread it is a plain call. */
must_check int loop_call(struct loop *loop, loop_fn fn, void *opaque);

/*
 * A post made beforehand, for what must not fail for want of memory: raised any number of times
 * before it runs, fn(opaque) runs once, in its turn among the posts; raised in or after it, again.
 */
struct loop_notice *loop_notice_create(struct loop *loop, loop_fn fn, void *opaque);
void loop_notice_raise(struct loop_notice *notice); /* any thread */
void loop_notice_destroy(struct loop_notice *notice); /* NULL is allowed; it will not run */

/* Watches fd, which stays the caller's and must outlive the watch. NULL: out of memory. */
struct loop_io *loop_io_add(struct loop *loop, int fd, unsigned int events, loop_io_fn fn,
			    void *opaque);
must_check int loop_io_set_events(struct loop_io *io, unsigned int events); /* 0: keeps it silent */
void loop_io_remove(struct loop_io *io); /* NULL is allowed */

/* Has the callback called soon, as if these events had come, even while nothing is watched. */
void loop_io_activate(struct loop_io *io, unsigned int events);

/* A one-shot timer on CLOCK_MONOTONIC; arming again moves it. */
struct loop_timer *loop_timer_create(struct loop *loop, loop_fn fn, void *opaque);
must_check int loop_timer_arm(struct loop_timer *timer, uint64_t delay_ns);
void loop_timer_disarm(struct loop_timer *timer); /* NULL is allowed */
void loop_timer_destroy(struct loop_timer *timer); /* NULL is allowed */

struct loop_signal *loop_signal_add(struct loop *loop, int signo, loop_fn fn, void *opaque);
void loop_signal_remove(struct loop_signal *sig); /* NULL is allowed */

#endif
