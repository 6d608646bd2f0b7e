/*
 * Unix stream sockets in the file system: the two ends. Both are non-blocking and close-on-exec;
 * the caller owns the descriptor. Any thread.
 */
#ifndef CORE_UNIX_SOCKET_H
#define CORE_UNIX_SOCKET_H

#include "core/bits.h"

/* Listens at path, which only our own user may connect to. A descriptor or -errno. */
must_check int unix_socket_listen(const char *path, int backlog);

/* A connected descriptor or -errno; -EAGAIN: somebody listens, but its queue is full. */
must_check int unix_socket_connect(const char *path);

#endif
