/*
 * The methods vmm-mgmt may call. Parameters are checked here; what is done is done elsewhere.
 */
#ifndef LAUNCH_METHODS_H
#define LAUNCH_METHODS_H

#include "core/rpc_server.h"

extern const struct rpc_method launch_methods[]; /* opaque: struct launch */

#endif
