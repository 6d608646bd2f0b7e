/* What `vmm --help` prints: every option, and every key of the configuration. */
#ifndef VMM_HELP_H
#define VMM_HELP_H

extern const char help_text[];

#endif
