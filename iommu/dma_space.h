/*
 * One device's view of guest memory, as a struct dma. Here the identity view: what the device
 * issues is a guest physical address, and it reaches RAM and nothing else, so no device can be
 * turned upon another's registers. A view through an IOMMU domain has the same face.
 *
 * Create and destroy on the io thread with the vCPUs paused or not yet started; translation is for
 * any thread. Windows handed out stay mapped until the guest's memory is destroyed.
 */
#ifndef IOMMU_DMA_SPACE_H
#define IOMMU_DMA_SPACE_H

#include "core/device.h"
#include "core/dma.h"
#include "core/guest_memory.h"

struct dma_space;

/* gm outlives the space. name: of the device, for counters and log lines; copied by reference. */
must_check int dma_space_create_identity(struct guest_memory *gm, const char *name,
					 struct dma_space **space);
void dma_space_destroy(struct dma_space *space); /* NULL is allowed */

/* What the device is given. */
struct dma *dma_space_dma(struct dma_space *space);

/* "dma_lookups": windows looked up; "dma_faults": accesses outside RAM or against permission;
 * "dma_dirtied": logged writes. */
void dma_space_counters(struct dma_space *space, counter_fn emit, void *opaque);

#endif
