#include "tests/unit/vswitch/unit.h"
#include "vswitch/fdb.h"

static uint64_t key_of(uint32_t n)
{
	uint8_t mac[6] = {0x02, 0x00};

	put_le32(mac + 2, n);
	return fdb_key(mac);
}

static uint16_t look_up(struct fdb *fdb, uint64_t key)
{
	return fdb_lookup(fdb, key, fdb_hash(fdb, key));
}

static bool refresh(struct fdb *fdb, uint64_t key, uint16_t port)
{
	return fdb_refresh(fdb, key, fdb_hash(fdb, key), port);
}

static void learns_moves_and_forgets(void **state)
{
	struct fdb *fdb = fdb_create(64, 300);
	uint8_t zero[6] = {0};

	(void)state;
	assert_int_equal(look_up(fdb, key_of(1)), FDB_NO_PORT);
	assert_false(refresh(fdb, key_of(1), 7));
	fdb_learn(fdb, key_of(1), 7);
	fdb_learn(fdb, fdb_key(zero), 3);
	assert_int_equal(look_up(fdb, key_of(1)), 7);
	assert_int_equal(look_up(fdb, fdb_key(zero)), 3);
	assert_int_equal(fdb->entries, 2);
	assert_true(refresh(fdb, key_of(1), 7));
	assert_false(refresh(fdb, key_of(1), 8));
	fdb_learn(fdb, key_of(1), 8);
	assert_int_equal(look_up(fdb, key_of(1)), 8);
	assert_int_equal(fdb->entries, 2);
	assert_int_equal(fdb->moved, 1);
	fdb_flush(fdb, 8);
	assert_int_equal(look_up(fdb, key_of(1)), FDB_NO_PORT);
	assert_int_equal(look_up(fdb, fdb_key(zero)), 3);
	fdb_flush(fdb, FDB_NO_PORT);
	assert_int_equal(fdb->entries, 0);
	fdb_destroy(fdb);
}

static void ages_what_is_not_seen(void **state)
{
	struct fdb *fdb = fdb_create(64, 10);

	(void)state;
	fdb_learn(fdb, key_of(1), 1);
	fdb_learn(fdb, key_of(2), 2);
	fdb_tick(fdb, 6);
	assert_true(refresh(fdb, key_of(2), 2));
	fdb_tick(fdb, 10);
	assert_int_equal(fdb->entries, 2);
	fdb_tick(fdb, 11);
	assert_int_equal(look_up(fdb, key_of(1)), FDB_NO_PORT);
	assert_int_equal(look_up(fdb, key_of(2)), 2);
	fdb_tick(fdb, 17);
	assert_int_equal(fdb->entries, 0);
	assert_int_equal(fdb->aged, 2);
	fdb_destroy(fdb);
}

/* The size asked for is reached with next to no eviction: two choices of four ways. */
static void holds_what_it_was_made_for(void **state)
{
	const uint32_t size = 16384;
	struct fdb *fdb = fdb_create(size, 300);
	uint32_t found = 0;

	(void)state;
	for (uint32_t i = 0; i < size; i++)
		fdb_learn(fdb, key_of(i), (uint16_t)(i % 200));
	for (uint32_t i = 0; i < size; i++) {
		uint16_t port = look_up(fdb, key_of(i));

		if (port != FDB_NO_PORT) {
			assert_int_equal(port, i % 200);
			found++;
		}
	}
	assert_true(found >= size - size / 100);
	assert_int_equal(found, fdb->entries);
	assert_int_equal(found + fdb->evicted, size);
	fdb_destroy(fdb);
}

/* Beyond that, those unseen for longest give way. */
static void evicts_the_oldest_of_a_full_bucket(void **state)
{
	struct fdb *fdb = fdb_create(8, 300);

	(void)state;
	assert_int_equal(fdb->mask, 1);
	for (uint32_t i = 0; i < 200; i++) {
		fdb_tick(fdb, i);
		fdb_learn(fdb, key_of(i), 1);
		refresh(fdb, key_of(0), 1);
	}
	assert_true(fdb->entries <= 8);
	assert_true(fdb->evicted >= 192);
	assert_int_equal(look_up(fdb, key_of(199)), 1);
	assert_int_equal(look_up(fdb, key_of(0)), 1);
	fdb_destroy(fdb);
}

struct seen {
	unsigned int count;
	uint8_t mac[6];
	uint16_t port;
	uint32_t age;
};

static void note(void *opaque, const uint8_t mac[6], uint16_t port, uint32_t age)
{
	struct seen *seen = opaque;

	seen->count++;
	memcpy(seen->mac, mac, 6);
	seen->port = port;
	seen->age = age;
}

static void walk_tells_address_port_and_age(void **state)
{
	static const uint8_t mac[6] = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54};
	struct fdb *fdb = fdb_create(64, 300);
	struct seen seen = {0};

	(void)state;
	fdb_tick(fdb, 100);
	fdb_learn(fdb, fdb_key(mac), 42);
	fdb_tick(fdb, 103);
	fdb_walk(fdb, note, &seen);
	assert_int_equal(seen.count, 1);
	assert_memory_equal(seen.mac, mac, 6);
	assert_int_equal(seen.port, 42);
	assert_int_equal(seen.age, 3);
	fdb_destroy(fdb);
}

static void a_bucket_is_a_cache_line(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct fdb_bucket), 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_moves_and_forgets),
		cmocka_unit_test(ages_what_is_not_seen),
		cmocka_unit_test(holds_what_it_was_made_for),
		cmocka_unit_test(evicts_the_oldest_of_a_full_bucket),
		cmocka_unit_test(walk_tells_address_port_and_age),
		cmocka_unit_test(a_bucket_is_a_cache_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
