#include "vswitch/fdb.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define FDB_LOAD_NUM 5u /* buckets for 1.25 times the entries: two choices of four ways then fit */
#define FDB_LOAD_DEN 4u

static uint64_t fdb_make_seed(void)
{
	uint64_t seed;
	struct timespec ts;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
		return seed;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_nsec << 32 ^ (uint64_t)ts.tv_sec;
}

struct fdb *fdb_create(uint32_t max_entries, uint32_t age)
{
	uint64_t want = (uint64_t)max_entries * FDB_LOAD_NUM / FDB_LOAD_DEN / FDB_WAYS, buckets = 1;
	struct fdb *fdb = calloc(1, sizeof(*fdb));

	if (!fdb)
		return NULL;
	while (buckets < want)
		buckets <<= 1;
	fdb->buckets = aligned_alloc(sizeof(struct fdb_bucket), buckets * sizeof(struct fdb_bucket));
	if (!fdb->buckets) {
		free(fdb);
		return NULL;
	}
	memset(fdb->buckets, 0, buckets * sizeof(struct fdb_bucket));
	fdb->mask = buckets - 1;
	fdb->seed = fdb_make_seed();
	fdb->age = age;
	return fdb;
}

void fdb_destroy(struct fdb *fdb)
{
	if (!fdb)
		return;
	free(fdb->buckets);
	free(fdb);
}

static uint64_t fdb_entry_key(const struct fdb_entry *entry)
{
	return atomic_load_explicit(&entry->key, memory_order_relaxed);
}

static uint32_t fdb_entry_unseen(const struct fdb *fdb, const struct fdb_entry *entry)
{
	uint32_t now = atomic_load_explicit(&fdb->now, memory_order_relaxed);

	return now - atomic_load_explicit(&entry->seen, memory_order_relaxed);
}

static void fdb_entry_clear(struct fdb *fdb, struct fdb_entry *entry)
{
	atomic_store_explicit(&entry->key, 0, memory_order_relaxed);
	fdb->entries--;
}

/* Where a new key goes: the emptier bucket's free entry, else the entry unseen for longest. */
static struct fdb_entry *fdb_entry_for(const struct fdb *fdb, uint64_t hash)
{
	struct fdb_entry *best = NULL, *oldest = NULL;
	unsigned int most_free = 0;

	for (unsigned int n = 0; n < 2; n++) {
		struct fdb_bucket *bucket = fdb_bucket_at(fdb, hash, n);
		struct fdb_entry *unused = NULL;
		unsigned int free_ways = 0;

		for (unsigned int i = 0; i < FDB_WAYS; i++) {
			struct fdb_entry *entry = &bucket->entries[i];

			if (fdb_entry_key(entry) == 0) {
				unused = entry;
				free_ways++;
			} else if (!oldest || fdb_entry_unseen(fdb, entry) >
						      fdb_entry_unseen(fdb, oldest)) {
				oldest = entry;
			}
		}
		if (free_ways > most_free) {
			most_free = free_ways;
			best = unused;
		}
	}
	return best ? best : oldest;
}

void fdb_learn(struct fdb *fdb, uint64_t key, uint16_t port)
{
	uint64_t hash = fdb_hash(fdb, key);
	struct fdb_entry *entry = fdb_find(fdb, key, hash);
	uint32_t now = atomic_load_explicit(&fdb->now, memory_order_relaxed);

	if (entry) {
		if (atomic_load_explicit(&entry->port, memory_order_relaxed) != port)
			fdb->moved++;
		atomic_store_explicit(&entry->port, port, memory_order_release);
		atomic_store_explicit(&entry->seen, now, memory_order_relaxed);
		return;
	}
	entry = fdb_entry_for(fdb, hash);
	if (fdb_entry_key(entry) != 0) {
		fdb_entry_clear(fdb, entry);
		fdb->evicted++;
	}
	/* The clearing is seen before the new port is: see fdb_lookup's second look at the key. */
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&entry->port, port, memory_order_release);
	atomic_store_explicit(&entry->seen, now, memory_order_relaxed);
	atomic_store_explicit(&entry->key, key, memory_order_release);
	fdb->entries++;
	fdb->learned++;
}

void fdb_tick(struct fdb *fdb, uint32_t now)
{
	atomic_store_explicit(&fdb->now, now, memory_order_relaxed);
	for (uint64_t b = 0; fdb->entries > 0 && b <= fdb->mask; b++) {
		for (unsigned int i = 0; i < FDB_WAYS; i++) {
			struct fdb_entry *entry = &fdb->buckets[b].entries[i];

			if (fdb_entry_key(entry) == 0 || fdb_entry_unseen(fdb, entry) <= fdb->age)
				continue;
			fdb_entry_clear(fdb, entry);
			fdb->aged++;
		}
	}
}

void fdb_flush(struct fdb *fdb, uint16_t port)
{
	for (uint64_t b = 0; b <= fdb->mask; b++) {
		for (unsigned int i = 0; i < FDB_WAYS; i++) {
			struct fdb_entry *entry = &fdb->buckets[b].entries[i];

			if (fdb_entry_key(entry) != 0 &&
			    (port == FDB_NO_PORT ||
			     atomic_load_explicit(&entry->port, memory_order_relaxed) == port))
				fdb_entry_clear(fdb, entry);
		}
	}
}

void fdb_walk(const struct fdb *fdb, fdb_walk_fn fn, void *opaque)
{
	for (uint64_t b = 0; b <= fdb->mask; b++) {
		for (unsigned int i = 0; i < FDB_WAYS; i++) {
			const struct fdb_entry *entry = &fdb->buckets[b].entries[i];
			uint64_t key = fdb_entry_key(entry);
			uint8_t mac[6];

			if (key == 0)
				continue;
			fdb_key_mac(key, mac);
			fn(opaque, mac, atomic_load_explicit(&entry->port, memory_order_relaxed),
			   fdb_entry_unseen(fdb, entry));
		}
	}
}
