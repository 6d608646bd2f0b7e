#include "core/dma.h"

#include <errno.h>

int dma_read(struct dma *dma, uint64_t addr, void *buf, uint64_t len)
{
	struct dma_window window = {0};
	uint8_t *to = buf;

	while (len) {
		uint64_t got = len;
		const void *hva = dma_translate(dma, &window, addr, &got, DMA_READ);

		if (!hva)
			return -EFAULT;
		memcpy(to, hva, got);
		to += got;
		addr += got;
		len -= got;
	}
	return 0;
}

int dma_write(struct dma *dma, uint64_t addr, const void *buf, uint64_t len)
{
	struct dma_window window = {0};
	const uint8_t *from = buf;

	while (len) {
		uint64_t got = len;
		void *hva = dma_translate(dma, &window, addr, &got, DMA_WRITE);

		if (!hva)
			return -EFAULT;
		memcpy(hva, from, got);
		dma_dirtied(dma, addr, got);
		from += got;
		addr += got;
		len -= got;
	}
	return 0;
}
