/*
 * Binding a guest's NUMA nodes to the host's: memory by policy, vCPU threads by affinity. Where the
 * host refuses, the guest runs all the same and a warning says so. io thread.
 */
#ifndef VMM_NUMA_PLACE_H
#define VMM_NUMA_PLACE_H

#include <pthread.h>

#include "core/bits.h"

#define NUMA_PLACE_MAX_NODES 64u

/* Reads the host's nodes, for a process that will not be able to. */
void numa_place_prepare(void);
/* What this thread allocates comes from host node `node` from now on; -1: from anywhere again. */
void numa_place_allocations(int node);
/* What is allocated in [hva, hva + size), by whomever, comes from that node. */
void numa_place_memory(void *hva, uint64_t size, unsigned int node);
/* The thread runs on the processors of that node. */
void numa_place_thread(pthread_t thread, unsigned int node);

#endif
