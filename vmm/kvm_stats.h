/*
 * KVM's binary statistics (KVM_GET_STATS_FD, Documentation/virt/kvm/api.rst 4.133): names and
 * sums, such as second-level mappings by page size of a VM and exits by reason of a vCPU.
 * Any thread.
 */
#ifndef VMM_KVM_STATS_H
#define VMM_KVM_STATS_H

#include "core/bits.h"

typedef void (*kvm_stat_fn)(void *opaque, const char *name, uint64_t value);

/* fd: of a VM or a vCPU. Calls emit for every scalar statistic. 0 or -errno. */
must_check int kvm_stats_read(int fd, kvm_stat_fn emit, void *opaque);

/* The parser alone: what the statistics descriptor `stats_fd` holds. -EPROTO: not understood. */
must_check int kvm_stats_parse(int stats_fd, kvm_stat_fn emit, void *opaque);

#endif
