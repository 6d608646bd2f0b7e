/*
 * A JSON-RPC server on a Unix stream socket (mode 0600 unless told otherwise) or on one connected descriptor.
 * All on the loop's thread. A client that sends a line too long or too deep is answered and
 * closed; one that does not read its answers is closed when more than
 * RPC_SERVER_MAX_BACKLOG bytes wait for it.
 */
#ifndef CORE_RPC_SERVER_H
#define CORE_RPC_SERVER_H

#include <sys/types.h>

#include "core/jsonrpc.h"
#include "core/loop.h"

#define RPC_SERVER_MAX_CLIENTS 64u
#define RPC_SERVER_MAX_BACKLOG (4u * 1024 * 1024)

struct rpc_server;
struct rpc_call; /* one request awaiting its answer; belongs to the handler until answered */

struct rpc_method {
	const char *name;
	uint32_t states; /* bit n: allowed in state n; else RPC_WRONG_STATE */
	/* Answers now or later by exactly one rpc_reply or rpc_fail. params is NULL or an object,
	 * borrowed for the time of the call. */
	void (*handle)(struct rpc_call *call, const json_t *params, void *opaque);
};

struct rpc_server_config {
	const char *path;	   /* socket to bind; or NULL and: */
	bool keep_path; /* by the end this process may have no right left to remove it */
	int listen_fd;		   /* a listening socket, taken over; or -1 and: */
	int connected_fd;	   /* one client, taken over (socketpair) */
	uid_t allowed_uid;	   /* besides root and our own uid (SO_PEERCRED) */
	const struct rpc_method *methods; /* ends with name == NULL; static */
	/* The present state (0..31) and its name for RPC_WRONG_STATE; NULL: always state 0. */
	unsigned int (*state)(void *opaque, const char **name);
	/* Notified when the connected_fd client goes away; may be NULL. */
	void (*gone)(void *opaque);
	void *opaque;
};

/* 0 or -errno; what was wanted and found is logged. */
must_check int rpc_server_create(struct loop *loop, const struct rpc_server_config *config,
				 struct rpc_server **server);
/* Closes all clients; calls still unanswered may be answered later, to nobody. */
void rpc_server_destroy(struct rpc_server *server);

/*
 * Sends a notification to every client. params is stolen; NULL is memory that ran out: then the
 * clients of a socket are disconnected, for they would go on believing what is no longer so.
 */
void rpc_server_notify(struct rpc_server *server, const char *method, json_t *params);

/*
 * result is stolen; NULL is memory that ran out, and so is whatever jansson was refused since the call
 * came (json_text_refusals): then the answer is an error, and false is returned, in case something
 * has to be undone. Safe when the client has gone.
 */
bool rpc_reply(struct rpc_call *call, json_t *result);

/* field: the member at fault (dotted path) for RPC_INVALID_PARAMS, else NULL. */
__attribute__((format(printf, 4, 5))) void rpc_fail(struct rpc_call *call, int code,
						     const char *field, const char *fmt, ...);

#endif
