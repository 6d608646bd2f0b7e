/*
 * What may be done with guest memory depends on what else uses it: pages pinned for a device's DMA
 * must not be discarded, memory a peer maps cannot be private, ... One table says, for every
 * property of memory and every feature that wants to act on it, whether they go together, and if
 * not, in which words that is refused. Pure; any thread.
 */
#ifndef CORE_MEMORY_CONTRACT_H
#define CORE_MEMORY_CONTRACT_H

#include "core/bits.h"

enum memory_property {
	MEMORY_SHARED,	    /* another process maps it (vhost-user) */
	MEMORY_PRIVATE,	    /* copy-on-write of an image or a parent */
	MEMORY_PINNED,	    /* a device's DMA holds the pages (VFIO) */
	MEMORY_DISCARDABLE, /* pages may be given back (balloon, free page reporting) */
	MEMORY_LAZY,	    /* pages arrive on first touch (userfaultfd) */
	MEMORY_TRACED,	    /* writes are logged */
	MEMORY_PROPERTIES
};

enum memory_feature {
	MEMORY_FEATURE_VHOST_USER,
	MEMORY_FEATURE_VFIO,
	MEMORY_FEATURE_BALLOON,
	MEMORY_FEATURE_MERGE,	    /* KSM, explicit sharing */
	MEMORY_FEATURE_CLONE,	    /* start from a parent's memory */
	MEMORY_FEATURE_POSTCOPY,
	MEMORY_FEATURE_DIRTY_LOG,
	MEMORY_FEATURES
};

/*
 * properties: a set, 1u << enum memory_property. NULL when the feature may act on such memory, else the
 * words of the refusal (static): "... because ...; do ...".
 */
const char *memory_contract_refusal(uint32_t properties, enum memory_feature feature);

/* The property that a feature, once in use, gives the memory (a set, perhaps empty). */
uint32_t memory_contract_adds(enum memory_feature feature);

const char *memory_feature_name(enum memory_feature feature);
const char *memory_property_name(enum memory_property property);

#endif
