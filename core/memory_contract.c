#include "core/memory_contract.h"

/*
 * One row per feature, one column per property. An empty cell: they go together. A refusal says
 * what does not go, why, and what to do about it.
 */
static const char *const memory_contract[MEMORY_FEATURES][MEMORY_PROPERTIES] = {
	[MEMORY_FEATURE_VHOST_USER] = {
		[MEMORY_PRIVATE] =
			"a vhost-user device cannot use private memory because its back end would "
			"see the image and never the guest's writes; start the guest from memory "
			"of its own",
		[MEMORY_LAZY] =
			"a vhost-user device cannot start while memory is still arriving because "
			"the back end's touch of a missing page is not ours to serve; wait until "
			"all pages are there",
	},
	[MEMORY_FEATURE_VFIO] = {
		[MEMORY_PRIVATE] =
			"a passed-through device cannot use private memory because a page copied "
			"on write leaves the device writing to the old one; start the guest from "
			"memory of its own",
		[MEMORY_DISCARDABLE] =
			"a passed-through device cannot be added while a balloon may discard pages "
			"because its DMA would hit pages the guest no longer has; remove the "
			"balloon first",
		[MEMORY_LAZY] =
			"a passed-through device cannot start while memory is still arriving "
			"because its DMA cannot wait for a page; wait until all pages are there",
		[MEMORY_TRACED] =
			"a passed-through device cannot be added while writes are logged because "
			"its DMA passes no log; end the migration or snapshot first",
	},
	[MEMORY_FEATURE_BALLOON] = {
		[MEMORY_PINNED] =
			"the balloon cannot discard pages because a passed-through device holds "
			"them pinned; remove the device or do without the balloon",
		[MEMORY_LAZY] =
			"the balloon cannot discard pages while memory is still arriving because "
			"a page in transit would come back; wait until all pages are there",
	},
	[MEMORY_FEATURE_MERGE] = {
		[MEMORY_SHARED] =
			"pages cannot be merged because another process maps them and would keep "
			"the old copy; remove the vhost-user devices first",
		[MEMORY_PINNED] =
			"pages cannot be merged because a passed-through device holds them pinned; "
			"remove the device first",
		[MEMORY_LAZY] =
			"pages cannot be merged while memory is still arriving because the missing "
			"ones have no content yet; wait until all pages are there",
	},
	[MEMORY_FEATURE_CLONE] = {
		[MEMORY_SHARED] =
			"the guest cannot be cloned because another process writes its memory and "
			"knows no copy on write; remove the vhost-user devices first",
		[MEMORY_PINNED] =
			"the guest cannot be cloned because a passed-through device writes its "
			"memory past any copy on write; remove the device first",
		[MEMORY_LAZY] =
			"the guest cannot be cloned while its memory is still arriving because the "
			"missing pages have no content yet; wait until all pages are there",
	},
	[MEMORY_FEATURE_POSTCOPY] = {
		[MEMORY_SHARED] =
			"memory cannot be moved after the guest because another process maps it "
			"and its touch of a missing page is not ours to serve; move the memory "
			"before the guest",
		[MEMORY_PRIVATE] =
			"memory cannot be moved after the guest because it is a private copy of "
			"an image and a missing page would be read from there; move the memory "
			"before the guest",
		[MEMORY_PINNED] =
			"memory cannot be moved after the guest because a passed-through device "
			"needs every page in place; remove the device first",
		[MEMORY_DISCARDABLE] =
			"memory cannot be moved after the guest because the balloon could discard "
			"a page in transit; remove the balloon first",
		[MEMORY_LAZY] =
			"memory cannot be moved after the guest because its pages are still "
			"arriving from an earlier move; wait until all pages are there",
	},
	[MEMORY_FEATURE_DIRTY_LOG] = {
		[MEMORY_PINNED] =
			"writes cannot be logged because a passed-through device writes memory "
			"past any log; remove the device first",
		[MEMORY_LAZY] =
			"writes cannot be logged while memory is still arriving because an "
			"arriving page would count as the guest's write; wait until all pages "
			"are there",
		[MEMORY_TRACED] =
			"writes cannot be logged twice because there is one log and its reader "
			"clears it; end the other migration or snapshot first",
	},
};

static const uint32_t memory_adds[MEMORY_FEATURES] = {
	[MEMORY_FEATURE_VHOST_USER] = 1u << MEMORY_SHARED,
	[MEMORY_FEATURE_VFIO] = 1u << MEMORY_PINNED,
	[MEMORY_FEATURE_BALLOON] = 1u << MEMORY_DISCARDABLE,
	[MEMORY_FEATURE_CLONE] = 1u << MEMORY_PRIVATE,
	[MEMORY_FEATURE_POSTCOPY] = 1u << MEMORY_LAZY,
	[MEMORY_FEATURE_DIRTY_LOG] = 1u << MEMORY_TRACED,
};

static const char *const feature_names[MEMORY_FEATURES] = {
	[MEMORY_FEATURE_VHOST_USER] = "vhost-user",
	[MEMORY_FEATURE_VFIO] = "vfio",
	[MEMORY_FEATURE_BALLOON] = "balloon",
	[MEMORY_FEATURE_MERGE] = "merge",
	[MEMORY_FEATURE_CLONE] = "clone",
	[MEMORY_FEATURE_POSTCOPY] = "postcopy",
	[MEMORY_FEATURE_DIRTY_LOG] = "dirty-log",
};

static const char *const property_names[MEMORY_PROPERTIES] = {
	[MEMORY_SHARED] = "shared",
	[MEMORY_PRIVATE] = "private",
	[MEMORY_PINNED] = "pinned",
	[MEMORY_DISCARDABLE] = "discardable",
	[MEMORY_LAZY] = "lazy",
	[MEMORY_TRACED] = "traced",
};

const char *memory_contract_refusal(uint32_t properties, enum memory_feature feature)
{
	for (unsigned int p = 0; p < MEMORY_PROPERTIES; p++)
		if ((properties & (1u << p)) && memory_contract[feature][p])
			return memory_contract[feature][p];
	return NULL;
}

uint32_t memory_contract_adds(enum memory_feature feature)
{
	return memory_adds[feature];
}

const char *memory_feature_name(enum memory_feature feature)
{
	return feature_names[feature];
}

const char *memory_property_name(enum memory_property property)
{
	return property_names[property];
}
