/* Joins the terminal and a guest's serial console. */
#ifndef MGMT_VMMCTL_CONSOLE_H
#define MGMT_VMMCTL_CONSOLE_H

#include "core/bits.h"

/*
 * Copies both ways between the terminal and the Unix socket until the guest's end is closed,
 * standard input ends or Ctrl-] is pressed. An exit status; what went wrong was printed.
 */
must_check int console_attach(const char *path);

#endif
