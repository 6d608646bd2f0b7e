/*
 * What this process costs beside its guest's RAM: the proportional set size of every other mapping
 * (/proc/self/smaps, proc(5)).
 */
#ifndef VMM_FOOTPRINT_H
#define VMM_FOOTPRINT_H

#include <stdio.h>

#include "core/guest_memory.h"

#define FOOTPRINT_TARGET_KIB (6u * 1024) /* one NIC, one disk */

/* Opens what footprint_pss reads, for a process that will not be able to. */
void footprint_prepare(void);

/* KiB, or -errno. gm may be NULL. One thread at a time. */
must_check int64_t footprint_pss(const struct guest_memory *gm);

/* The same from an open file in the format of smaps. */
must_check int64_t footprint_parse(FILE *file, const struct guest_memory *gm);

#endif
