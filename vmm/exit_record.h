/*
 * The exit record: why a vmm ended, left in a file for whoever did not see it die. An empty file
 * means that it was killed. io thread.
 */
#ifndef VMM_EXIT_RECORD_H
#define VMM_EXIT_RECORD_H

#include "vmm/config_reader.h"

enum exit_reason {
	EXIT_SHUTDOWN,	   /* the guest powered off */
	EXIT_STOP,	   /* vm.stop */
	EXIT_SIGNAL,	   /* SIGTERM or SIGINT, and the guest did not shut down by itself */
	EXIT_DEBUG,	   /* the debug-exit port */
	EXIT_CONFIG,	   /* the configuration cannot be used */
	EXIT_GUEST_FAULT,  /* the guest did what cannot be executed */
	EXIT_HOST_FAILURE, /* the host did not give what was needed */
	EXIT_RESET_FAILED,
};

struct exit_record {
	enum exit_reason reason;
	int status; /* of the process */
	char message[896];
};

const char *exit_reason_name(enum exit_reason reason);

/* The process's status for a reason; debug_status: what the guest asked for at the debug-exit port. */
int exit_reason_status(enum exit_reason reason, uint8_t debug_status);

/* Opens and empties the file. The descriptor or -errno. */
must_check int exit_record_open(const struct config_file *file);
/* fd < 0: nothing happens. 0 or -errno. */
must_check int exit_record_write(int fd, const char *id, const struct exit_record *record);

#endif
