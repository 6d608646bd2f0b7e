/*
 * Opens what the configuration plugs into the serial port. io thread.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "core/char_backend.h"
#include "core/loop.h"
#include "vmm/vm_config.h"

/* 0, or -errno with a line in `why`. */
must_check int console_open(struct loop *loop, const struct vm_config *config,
			    struct char_backend **be, char *why, size_t why_size);

#endif
