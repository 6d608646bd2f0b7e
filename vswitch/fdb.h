/*
 * The forwarding table: which port a MAC address was last seen at.
 *
 * The main thread is the only one to add, move and remove entries; lcores look up, and refresh
 * the time an entry was last seen. No locks: a bucket is one cache line of four entries, and an
 * entry is two atomic words.
 *  - key: the address, 0 when free. A change of key clears it first and stores the new one last,
 *    with release; a reader that finds its key reads the value and then the key again, so it
 *    never pairs one address with another's port.
 *  - value: the port, changed in place by a move.
 * A key has two candidate buckets by a seeded hash (peers choose addresses, so the seed is
 * secret); when both are full the entry unseen for longest gives way.
 *
 * Time is in seconds and is what the main thread last said by fdb_tick. Pure; needs no EAL.
 */
#ifndef VSWITCH_FDB_H
#define VSWITCH_FDB_H

#include <stdatomic.h>

#include "core/bits.h"

#define FDB_NO_PORT UINT16_MAX
#define FDB_WAYS 4u

struct fdb_entry {
	_Atomic uint64_t key;
	_Atomic uint32_t seen; /* seconds; written by the lcores at most once a second */
	_Atomic uint16_t port;
	uint16_t reserved;
};

struct fdb_bucket {
	struct fdb_entry entries[FDB_WAYS];
} __attribute__((aligned(64)));

struct fdb {
	struct fdb_bucket *buckets;
	uint64_t mask; /* number of buckets - 1 */
	uint64_t seed;
	uint32_t age;  /* seconds after which an unseen entry goes */
	_Atomic uint32_t now;
	/* The main thread's. */
	uint32_t entries;
	uint64_t learned, moved, aged, evicted;
};

/* max_entries is rounded up; age in seconds. NULL: out of memory. */
struct fdb *fdb_create(uint32_t max_entries, uint32_t age);
void fdb_destroy(struct fdb *fdb); /* NULL is allowed; no lcore looks up any more */

static inline uint64_t fdb_key(const uint8_t mac[6])
{
	/* Marked, so that 00:00:00:00:00:00 is not the free key. */
	return 1ULL << 63 | (uint64_t)get_le16(mac + 4) << 32 | get_le32(mac);
}

static inline void fdb_key_mac(uint64_t key, uint8_t mac[6])
{
	put_le32(mac, (uint32_t)key);
	put_le16(mac + 4, (uint16_t)(key >> 32));
}

static inline uint64_t fdb_hash(const struct fdb *fdb, uint64_t key)
{
	key ^= fdb->seed;
	key *= 0x9e3779b97f4a7c15ULL;
	key ^= key >> 32;
	key *= 0xd6e8feb86659fd93ULL;
	return key ^ key >> 32;
}

static inline struct fdb_bucket *fdb_bucket_at(const struct fdb *fdb, uint64_t hash, unsigned int n)
{
	return &fdb->buckets[(n ? hash >> 32 ^ hash << 7 : hash) & fdb->mask];
}

/* Before a batch of look-ups. */
static inline void fdb_prefetch(const struct fdb *fdb, uint64_t hash)
{
	__builtin_prefetch(fdb_bucket_at(fdb, hash, 0));
}

static inline struct fdb_entry *fdb_find(const struct fdb *fdb, uint64_t key, uint64_t hash)
{
	for (unsigned int n = 0; n < 2; n++) {
		struct fdb_bucket *bucket = fdb_bucket_at(fdb, hash, n);

		for (unsigned int i = 0; i < FDB_WAYS; i++)
			if (atomic_load_explicit(&bucket->entries[i].key, memory_order_acquire) ==
			    key)
				return &bucket->entries[i];
	}
	return NULL;
}

/* Any lcore. The port, or FDB_NO_PORT. hash = fdb_hash(fdb, key). */
static inline uint16_t fdb_lookup(const struct fdb *fdb, uint64_t key, uint64_t hash)
{
	struct fdb_entry *entry = fdb_find(fdb, key, hash);
	uint16_t port;

	if (!entry)
		return FDB_NO_PORT;
	port = atomic_load_explicit(&entry->port, memory_order_acquire);
	if (atomic_load_explicit(&entry->key, memory_order_relaxed) != key)
		return FDB_NO_PORT;
	return port;
}

/*
 * Any lcore: key was seen as a source at port. True when the table knows it (it is young again);
 * false when the main thread must be told to fdb_learn it.
 */
static inline bool fdb_refresh(struct fdb *fdb, uint64_t key, uint64_t hash, uint16_t port)
{
	struct fdb_entry *entry = fdb_find(fdb, key, hash);
	uint32_t now = atomic_load_explicit(&fdb->now, memory_order_relaxed);

	if (!entry || atomic_load_explicit(&entry->port, memory_order_acquire) != port)
		return false;
	if (atomic_load_explicit(&entry->seen, memory_order_relaxed) != now)
		atomic_store_explicit(&entry->seen, now, memory_order_relaxed);
	return true;
}

/* All below: main thread. */

/* Adds the address, or moves it to port. */
void fdb_learn(struct fdb *fdb, uint64_t key, uint16_t port);

/* It is `now`; entries unseen for longer than the age go. Walks the whole table. */
void fdb_tick(struct fdb *fdb, uint32_t now);

/* Forgets all addresses of a port, or of all ports by FDB_NO_PORT. */
void fdb_flush(struct fdb *fdb, uint16_t port);

typedef void (*fdb_walk_fn)(void *opaque, const uint8_t mac[6], uint16_t port, uint32_t age);
void fdb_walk(const struct fdb *fdb, fdb_walk_fn fn, void *opaque);

#endif
