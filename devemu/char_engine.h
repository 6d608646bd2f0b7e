/*
 * What the char backends share: an output ring, and the descriptors behind it. Private to
 * devemu/char_*.c. Loop's thread unless said.
 *
 * The ring holds the bytes [written - CHAR_RING_SIZE, written) of all output so far; `sent` is how
 * far the present reader has come. A reader that lags by a whole ring makes new output be dropped;
 * without a reader old output is overwritten.
 */
#ifndef DEVEMU_CHAR_ENGINE_H
#define DEVEMU_CHAR_ENGINE_H

#include <pthread.h>

#include "devemu/char_stream.h"

struct char_engine {
	struct char_backend be;
	struct loop *loop;
	pthread_mutex_t lock; /* ring, written, sent, draining, attached, accepting */
	uint8_t *ring;
	uint64_t written;
	uint64_t sent;
	bool draining;	/* the loop has been woken for output and is not yet through */
	bool attached;	/* there is a reader */
	bool accepting; /* the device asked for input */
	int wake_fd;	/* eventfd: any thread -> loop */
	struct loop_io *wake_io;
	int in_fd, out_fd; /* -1: none; may be the same; owned */
	struct loop_io *in_io, *out_io; /* NULL: not pollable, always ready */
	bool in_ended;	   /* end of file, or no input at all */
	bool in_paused;	   /* the device had no room */
	/* The reader went away (writing failed with err): NULL: output is dropped from then on. */
	void (*detached)(struct char_engine *e);
	void (*fini)(struct char_engine *e); /* the kind's part of destroy, may be NULL; frees e */
};

/* Fills in *e (allocated by the kind) and its ring. */
must_check int char_engine_init(struct char_engine *e, struct loop *loop);
/* Closes what is attached and frees the ring; not e itself. */
void char_engine_fini(struct char_engine *e);

/*
 * Connects descriptors (non-blocking, taken over; -1: none) and starts with the last `replay` bytes
 * of output.
 */
void char_engine_attach(struct char_engine *e, int in_fd, int out_fd, size_t replay);
void char_engine_detach(struct char_engine *e);

#endif
