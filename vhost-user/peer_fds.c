#include "vhost-user/peer_fds.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/log.h"

#define CLOSER_STACK (128 * KIB)

/* Belongs to the thread that closes and, until it is told or finished, to the back end. */
struct peer_fds_job {
	_Atomic unsigned int owners;
	int done_fd;
	unsigned int count;
	int fds[PEER_FDS_MAX];
};

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

static void job_release(struct peer_fds_job *job)
{
	if (atomic_fetch_sub(&job->owners, 1) > 1)
		return;
	close(job->done_fd);
	free(job);
}

static void *job_run(void *opaque)
{
	struct peer_fds_job *job = opaque;
	uint64_t one = 1;
	ssize_t n;

	for (unsigned int i = 0; i < job->count; i++)
		close(job->fds[i]);
	n = write(job->done_fd, &one, sizeof(one));
	(void)n;
	job_release(job);
	return NULL;
}

static int job_start_thread(struct peer_fds_job *job)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	if (pthread_attr_init(&attr))
		return -1;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, CLOSER_STACK);
	/* No signal of the process is its business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, &attr, job_run, job);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err ? -1 : 0;
}

static void on_done(void *opaque, int fd, unsigned int events)
{
	struct peer_fds *fds = opaque;

	loop_io_remove(fds->job_io);
	fds->job_io = NULL;
	job_release(fds->job);
	fds->job = NULL;
	fds->closed(fds->opaque);
}

static struct peer_fds_job *job_new(const struct peer_fds *fds)
{
	struct peer_fds_job *job = malloc(sizeof(*job));

	if (!job)
		return NULL;
	job->owners = 2;
	job->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	job->count = fds->count;
	memcpy(job->fds, fds->fds, fds->count * sizeof(job->fds[0]));
	if (job->done_fd >= 0)
		return job;
	free(job);
	return NULL;
}

/* Without memory or a thread there is only this way left, and it may take time. */
static bool close_here(struct peer_fds *fds)
{
	log_warn("vhost-user: no thread to close a peer's descriptors: closing them here");
	for (unsigned int i = 0; i < fds->count; i++)
		close(fds->fds[i]);
	fds->count = 0;
	return true;
}

bool peer_fds_close(struct peer_fds *fds)
{
	struct peer_fds_job *job;

	if (!fds->count)
		return true;
	job = job_new(fds);
	if (!job)
		return close_here(fds);
	fds->job_io = loop_io_add(fds->loop, job->done_fd, LOOP_READ, on_done, fds);
	if (!fds->job_io || job_start_thread(job) < 0) {
		loop_io_remove(fds->job_io);
		fds->job_io = NULL;
		close(job->done_fd);
		free(job);
		return close_here(fds);
	}
	fds->job = job;
	fds->count = 0;
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
	if (fds->count < PEER_FDS_MAX)
		fds->fds[fds->count++] = fd;
	else
		close(fd);
}

void peer_fds_drop(struct peer_fds *fds, int fd)
{
	if (peer_fd_kind(fd) == PEER_FD_OTHER)
		peer_fds_keep(fds, fd);
	else
		close(fd);
}
