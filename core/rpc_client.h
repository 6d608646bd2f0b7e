/*
 * A JSON-RPC client on a Unix stream socket. All on the loop's thread, never blocking: requests
 * are answered by callback, also with RPC_DISCONNECTED when the peer goes away.
 */
#ifndef CORE_RPC_CLIENT_H
#define CORE_RPC_CLIENT_H

#include "core/jsonrpc.h"
#include "core/loop.h"

struct rpc_client;

/* code 0: result is set (borrowed). Otherwise an rpc_code with message and, perhaps, data. */
typedef void (*rpc_reply_fn)(void *opaque, int code, const char *message, const json_t *data,
			     const json_t *result);

struct rpc_client_events {
	/* A notification from the server; may be NULL. */
	void (*notified)(void *opaque, const char *method, const json_t *params);
	/* The connection is gone (every open request was answered before); may be NULL. The client
	 * may be destroyed within. */
	void (*gone)(void *opaque);
	void *opaque;
};

/* Takes over a connected descriptor. NULL: out of memory. */
struct rpc_client *rpc_client_create(struct loop *loop, int fd,
				     const struct rpc_client_events *events);
/* Connects to a path. 0 or -errno. */
must_check int rpc_client_connect(struct loop *loop, const char *path,
				  const struct rpc_client_events *events,
				  struct rpc_client **client);
/* Open requests are answered with RPC_DISCONNECTED first. NULL is allowed. */
void rpc_client_destroy(struct rpc_client *client);

/* params is stolen (NULL: none). timeout_ms 0: wait for ever; else RPC_BUSY after that time.
 * 0, or -errno and fn is never called. */
must_check int rpc_client_call(struct rpc_client *client, const char *method, json_t *params,
			       unsigned int timeout_ms, rpc_reply_fn fn, void *opaque);

#endif
