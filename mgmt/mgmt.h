/* The daemon as a whole: who there is, so that each part finds the others. Main thread only. */
#ifndef MGMT_MGMT_H
#define MGMT_MGMT_H

#include "core/loop.h"
#include "mgmt/options.h"
#include "mgmt/problem.h"
#include "mgmt/process.h"

struct mgmt {
	const struct options *options;
	struct loop *loop;
	struct store *store;
	struct events *events;
	struct supervisor *supervisor;
	struct vswitch *vswitch;
	struct ports *ports;
	struct vms *vms;
	int api_fd; /* the API's listening socket: http's, once that is there */
	struct http *http; /* NULL until what our predecessor left is found */
	char boot_id[BOOT_ID_SIZE];
	bool ending; /* the guests are being stopped, then we end */
	int exit_status;
};

#define MGMT_PATH_SIZE 108u /* what a socket's address holds */

#endif
