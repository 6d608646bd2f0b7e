/*
 * KVM's binary statistics (KVM_GET_STATS_FD, Documentation/virt/kvm/api.rst 4.133): names and
 * sums, such as second-level mappings by page size of a VM and exits by reason of a vCPU.
 * Any thread.
 */
#ifndef VMM_KVM_STATS_H
#define VMM_KVM_STATS_H

#include "core/bits.h"

typedef void (*kvm_stat_fn)(void *opaque, const char *name, uint64_t value);

/*
 * The statistics descriptor of a VM or a vCPU, or -errno. A vCPU must not be running: the ioctl
 * would wait for it. What is opened may be read at any time.
 */
must_check int kvm_stats_open(int fd);

/* Calls emit for every statistic. 0, -errno, or -EPROTO: not understood. */
must_check int kvm_stats_read(int stats_fd, kvm_stat_fn emit, void *opaque);

#endif
