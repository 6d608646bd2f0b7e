#include "vmm/kvm_stats.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_DESCRIPTORS 1024u
#define MAX_NAME 256u /* bytes */

static int read_all(int fd, void *buf, size_t len, uint64_t offset)
{
	ssize_t got = pread(fd, buf, len, (off_t)offset);

	if (got < 0)
		return -errno;
	return (size_t)got == len ? 0 : -EPROTO;
}

/* A histogram or any array is summed: none that we show is one. */
static int emit_one(int fd, const struct kvm_stats_header *header, struct kvm_stats_desc *desc,
		    kvm_stat_fn emit, void *opaque)
{
	uint64_t value = 0;

	desc->name[header->name_size - 1] = '\0';
	for (unsigned int i = 0; i < desc->size; i++) {
		uint64_t v;
		int ret = read_all(fd, &v, sizeof(v),
				   header->data_offset + (uint64_t)desc->offset + i * sizeof(v));

		if (ret < 0)
			return ret;
		value += v;
	}
	emit(opaque, desc->name, value);
	return 0;
}

int kvm_stats_read(int stats_fd, kvm_stat_fn emit, void *opaque)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc;
	size_t size;
	int ret;

	ret = read_all(stats_fd, &header, sizeof(header), 0);
	if (ret < 0)
		return ret;
	if (!header.name_size || header.name_size > MAX_NAME || header.num_desc > MAX_DESCRIPTORS)
		return -EPROTO;
	size = sizeof(*desc) + header.name_size;
	desc = malloc(size);
	if (!desc)
		return -ENOMEM;
	for (uint32_t i = 0; i < header.num_desc && !ret; i++) {
		ret = read_all(stats_fd, desc, size, header.desc_offset + i * (uint64_t)size);
		if (!ret)
			ret = emit_one(stats_fd, &header, desc, emit, opaque);
	}
	free(desc);
	return ret;
}

int kvm_stats_open(int fd)
{
	int stats_fd = ioctl(fd, KVM_GET_STATS_FD, NULL);

	return stats_fd < 0 ? -errno : stats_fd;
}
