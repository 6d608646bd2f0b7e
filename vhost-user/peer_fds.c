#include "vhost-user/peer_fds.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

#define CLOSER_STACK (128 * KIB)

/* Belongs to the thread that closes and, until it is told or finished, to the back end. */
struct peer_fds_job {
	struct peer_fds_job *next;
	_Atomic unsigned int owners;
	int done_fd;
	struct peer_fds_kept kept;
};

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER;
static struct peer_fds_job *queue_first, *queue_last, *spare;
static unsigned int closers;

static bool is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], got[sizeof(want)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, got, sizeof(got));
	return n == (ssize_t)sizeof(want) - 1 && !memcmp(got, want, (size_t)n);
}

enum peer_fd_kind peer_fd_kind(int fd)
{
	/* Answered by the kernel itself for these two file systems, refused for all others. */
	if (fcntl(fd, F_GET_SEALS) >= 0)
		return PEER_FD_MEMORY;
	return is_eventfd(fd) ? PEER_FD_EVENTFD : PEER_FD_OTHER;
}

/*
 * Kept for the next one, not freed: the C library's first look at the heap from a new thread opens
 * files, which the process may have given up the right to.
 */
static void job_release(struct peer_fds_job *job)
{
	if (atomic_fetch_sub(&job->owners, 1) > 1)
		return;
	close(job->done_fd);
	pthread_mutex_lock(&queue_lock);
	job->next = spare;
	spare = job;
	pthread_mutex_unlock(&queue_lock);
}

static struct peer_fds_job *job_alloc(void)
{
	struct peer_fds_job *job;

	pthread_mutex_lock(&queue_lock);
	job = spare;
	if (job)
		spare = job->next;
	pthread_mutex_unlock(&queue_lock);
	return job ? job : malloc(sizeof(*job));
}

static void let_go(struct peer_fds_kept *kept)
{
	for (unsigned int i = 0; i < kept->count; i++)
		close(kept->fds[i]);
	for (unsigned int i = 0; i < kept->map_count; i++)
		munmap(kept->maps[i].at, kept->maps[i].bytes);
	kept->count = 0;
	kept->map_count = 0;
}

static void job_run(struct peer_fds_job *job)
{
	uint64_t one = 1;
	ssize_t n;

	let_go(&job->kept);
	n = write(job->done_fd, &one, sizeof(one));
	(void)n;
	job_release(job);
}

static void *closer(void *opaque)
{
	for (;;) {
		struct peer_fds_job *job;

		pthread_mutex_lock(&queue_lock);
		while (!queue_first)
			pthread_cond_wait(&queue_filled, &queue_lock);
		job = queue_first;
		queue_first = job->next;
		pthread_mutex_unlock(&queue_lock);
		job_run(job);
	}
	return opaque;
}

static void queue_put(struct peer_fds_job *job)
{
	pthread_mutex_lock(&queue_lock);
	job->next = NULL;
	if (queue_first)
		queue_last->next = job;
	else
		queue_first = job;
	queue_last = job;
	pthread_cond_signal(&queue_filled);
	pthread_mutex_unlock(&queue_lock);
}

int peer_fds_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, CLOSER_STACK);
	for (; !err && closers < PEER_FDS_CLOSERS; closers += !err)
		err = pthread_create(&thread, &attr, closer, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

static void on_done(void *opaque, int fd, unsigned int events)
{
	struct peer_fds *fds = opaque;

	loop_io_remove(fds->job_io);
	fds->job_io = NULL;
	job_release(fds->job);
	fds->job = NULL;
	/* More may have come meanwhile. */
	if (peer_fds_close(fds))
		fds->closed(fds->opaque);
}

static struct peer_fds_job *job_new(const struct peer_fds *fds)
{
	struct peer_fds_job *job = job_alloc();

	if (!job)
		return NULL;
	job->owners = 2;
	job->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	job->kept = fds->kept;
	if (job->done_fd >= 0)
		return job;
	free(job);
	return NULL;
}

/* Without memory there is only this way left, and it may take time. */
static bool close_here(struct peer_fds *fds)
{
	log_warn("vhost-user: out of memory: closing a peer's descriptors here and now");
	let_go(&fds->kept);
	return true;
}

bool peer_fds_close(struct peer_fds *fds)
{
	struct peer_fds_job *job;

	if (fds->job)
		return false;
	if (!fds->kept.count && !fds->kept.map_count)
		return true;
	job = job_new(fds);
	if (!job)
		return close_here(fds);
	fds->job_io = loop_io_add(fds->loop, job->done_fd, LOOP_READ, on_done, fds);
	if (!fds->job_io) {
		close(job->done_fd);
		free(job);
		return close_here(fds);
	}
	fds->job = job;
	queue_put(job);
	fds->kept.count = 0;
	fds->kept.map_count = 0;
	return false;
}

void peer_fds_init(struct peer_fds *fds, struct loop *loop, void (*closed)(void *opaque),
		   void *opaque)
{
	memset(fds, 0, sizeof(*fds));
	fds->loop = loop;
	fds->closed = closed;
	fds->opaque = opaque;
}

static void forget_job(struct peer_fds *fds)
{
	loop_io_remove(fds->job_io);
	fds->job_io = NULL;
	if (fds->job)
		job_release(fds->job);
	fds->job = NULL;
}

void peer_fds_fini(struct peer_fds *fds)
{
	forget_job(fds);
	if (!peer_fds_close(fds))
		forget_job(fds);
}

void peer_fds_keep(struct peer_fds *fds, int fd)
{
	if (fds->kept.count < PEER_FDS_MAX)
		fds->kept.fds[fds->kept.count++] = fd;
	else
		close(fd);
}

void peer_fds_keep_maps(struct peer_fds *fds, struct peer_memory *pm)
{
	struct peer_mapping maps[PEER_MEMORY_MAX_DEPARTED];
	unsigned int count = peer_memory_take_departed(pm, maps);

	for (unsigned int i = 0; i < count; i++) {
		if (fds->kept.map_count < PEER_MEMORY_MAX_DEPARTED)
			fds->kept.maps[fds->kept.map_count++] = maps[i];
		else
			munmap(maps[i].at, maps[i].bytes);
	}
}

/* A file that nobody else may have any more, and that would take time to free. */
static bool is_large(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_blocks >= (blkcnt_t)(PEER_MEMORY_LARGE / 512);
}

void peer_fds_drop(struct peer_fds *fds, int fd)
{
	enum peer_fd_kind kind = peer_fd_kind(fd);

	if (kind == PEER_FD_OTHER || (kind == PEER_FD_MEMORY && is_large(fd)))
		peer_fds_keep(fds, fd);
	else
		close(fd);
}
