#include "vmm/footprint.h"

#include <errno.h>
#include <inttypes.h>

static bool is_guest_ram(const struct guest_memory *gm, uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; gm && i < guest_memory_slot_count(gm); i++) {
		const struct mem_slot *slot = guest_memory_slot(gm, i);

		if (range_overlaps(start, end - start, (uintptr_t)slot->hva, slot->size))
			return true;
	}
	return false;
}

int64_t footprint_parse(FILE *file, const struct guest_memory *gm)
{
	bool counted = false;
	int64_t total = 0;
	char line[512];

	while (fgets(line, sizeof(line), file)) {
		uint64_t start, end, kib;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			counted = !is_guest_ram(gm, start, end);
		else if (counted && sscanf(line, "Pss: %" SCNu64 " kB", &kib) == 1)
			total += (int64_t)kib;
	}
	return ferror(file) ? -EIO : total;
}

/* /proc/self/smaps; open for good once it is. */
static FILE *smaps;

void footprint_prepare(void)
{
	if (!smaps)
		smaps = fopen("/proc/self/smaps", "re");
}

int64_t footprint_pss(const struct guest_memory *gm)
{
	footprint_prepare();
	if (!smaps || fseek(smaps, 0, SEEK_SET) < 0)
		return -errno;
	return footprint_parse(smaps, gm);
}
