#include "vmm/numa_place.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>

#include "core/log.h"

/* libnuma keeps what it has read. */
void numa_place_prepare(void)
{
	struct bitmask *cpus = numa_available() < 0 ? NULL : numa_allocate_cpumask();

	for (int node = 0; cpus && node <= numa_max_node(); node++)
		(void)numa_node_to_cpus(node, cpus); /* not there: numa_place_thread says so */
	if (cpus)
		numa_free_cpumask(cpus);
}

void numa_place_allocations(int node)
{
	unsigned long mask = node < 0 ? 0 : 1UL << node;
	long ret;

	if (node < 0)
		ret = set_mempolicy(MPOL_DEFAULT, NULL, 0);
	else
		ret = set_mempolicy(MPOL_BIND, &mask, NUMA_PLACE_MAX_NODES + 1);
	if (ret < 0)
		log_warn("memory is not bound to host node %d: %s", node, strerror(errno));
}

void numa_place_memory(void *hva, uint64_t size, unsigned int node)
{
	unsigned long mask = 1UL << node;

	if (mbind(hva, size, MPOL_BIND, &mask, NUMA_PLACE_MAX_NODES + 1, 0) < 0)
		log_warn("memory is not bound to host node %u: %s", node, strerror(errno));
}

void numa_place_thread(pthread_t thread, unsigned int node)
{
	struct bitmask *cpus = numa_available() < 0 ? NULL : numa_allocate_cpumask();
	cpu_set_t set;
	int err = ENOTSUP;

	if (cpus && numa_node_to_cpus((int)node, cpus) == 0) {
		CPU_ZERO(&set);
		for (unsigned int cpu = 0; cpu < cpus->size && cpu < CPU_SETSIZE; cpu++)
			if (numa_bitmask_isbitset(cpus, cpu))
				CPU_SET(cpu, &set);
		err = pthread_setaffinity_np(thread, sizeof(set), &set);
	}
	if (err)
		log_warn("a vCPU is not bound to host node %u: %s", node, strerror(err));
	if (cpus)
		numa_free_cpumask(cpus);
}
