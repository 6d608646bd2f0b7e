/*
 * Descriptors that came from a peer: what they are, told without touching what is behind them, and
 * their end; and the end of large mappings of its memory.
 *
 * Behind a descriptor may be a file system that the peer itself serves (FUSE) and whose every
 * operation, the flush at close included, takes as long as it likes; or a TCP socket whose last
 * close lingers; and unmapping a file last frees all of it. So only eventfds and shared memory are
 * ever used, and if small closed, on the control thread. All else is kept until the message is done
 * or the session over, and then closed by one of a few threads there are for that, as large mappings
 * are unmapped; until it is done the back end reads nothing more and takes no other peer, so what a
 * peer can hold up is its own port (and, with company enough to hold up all these threads, those of
 * others that send such things). Control thread.
 */
#ifndef VHOST_USER_PEER_FDS_H
#define VHOST_USER_PEER_FDS_H

#include "core/loop.h"
#include "vhost-user/peer_memory.h"

enum peer_fd_kind {
	PEER_FD_EVENTFD,
	PEER_FD_MEMORY, /* of tmpfs or hugetlbfs, memfds included */
	PEER_FD_OTHER,
};

enum peer_fd_kind peer_fd_kind(int fd);

#define PEER_FDS_CLOSERS 8u

/* Starts the threads, with the caller's signal mask: before the process gives up the right to. Again:
 * nothing to do. 0 or -errno. */
must_check int peer_fds_start(void);

#define PEER_FDS_MAX 320u /* more than two messages can carry */

struct peer_fds_job;

struct peer_fds {
	struct loop *loop;
	void (*closed)(void *opaque);
	void *opaque;
	struct peer_fds_job *job; /* NULL: nothing is being closed */
	struct loop_io *job_io;
	struct peer_fds_kept {
		unsigned int count;
		int fds[PEER_FDS_MAX];
		unsigned int map_count;
		struct peer_mapping maps[PEER_MEMORY_MAX_DEPARTED];
	} kept;
};

/* closed: runs on the loop when all that peer_fds_close began with is closed. */
void peer_fds_init(struct peer_fds *fds, struct loop *loop, void (*closed)(void *opaque),
		   void *opaque);
/* What is kept or being closed is so without us; `closed` does not run any more. */
void peer_fds_fini(struct peer_fds *fds);

/* Takes fd over: closes it at once if that cannot take time, else keeps it. */
void peer_fds_drop(struct peer_fds *fds, int fd);
/* Keeps it, whatever it is. */
void peer_fds_keep(struct peer_fds *fds, int fd);

/* Keeps what has departed of the peer's memory. */
void peer_fds_keep_maps(struct peer_fds *fds, struct peer_memory *pm);

/* True: nothing was kept. False: `closed` will run, when all that is kept by then is closed. */
must_check bool peer_fds_close(struct peer_fds *fds);

static inline bool peer_fds_closing(const struct peer_fds *fds)
{
	return fds->job != NULL;
}

#endif
