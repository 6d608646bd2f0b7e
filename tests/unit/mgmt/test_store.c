#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"
#include "mgmt/store.h"

struct fixture {
	struct store *store;
	char dir[64];
	char path[96];
	int count;
	char seen[256]; /* what the last row said */
};

static void reopen(struct fixture *f)
{
	store_close(f->store);
	f->store = NULL;
	assert_int_equal(store_open(f->path, &f->store), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/test_store.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/vmm.db", f->dir);
	reopen(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const endings[] = { "", "-wal", "-shm" };
	struct fixture *f = *state;
	char path[128];

	store_close(f->store);
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		snprintf(path, sizeof(path), "%s%s", f->path, endings[i]);
		unlink(path);
	}
	rmdir(f->dir);
	free(f);
	return 0;
}

static int note_vm(void *opaque, const struct store_vm *vm)
{
	struct fixture *f = opaque;

	f->count++;
	snprintf(f->seen, sizeof(f->seen), "%s %u %s %s %d %d %s", vm->id, vm->uid, vm->spec,
		 vm->desired, vm->forced, vm->failed, vm->last_exit ? vm->last_exit : "-");
	return 0;
}

static const char *vms(struct fixture *f)
{
	f->count = 0;
	f->seen[0] = '\0';
	assert_int_equal(store_vm_each(f->store, note_vm, f), 0);
	return f->seen;
}

static uid_t add_vm(struct fixture *f, const char *id)
{
	json_t *spec = json_pack("{s:s}", "id", id);
	uid_t uid = 0;

	assert_int_equal(store_vm_add(f->store, id, spec, &uid), 0);
	json_decref(spec);
	return uid;
}

static void test_vm_outlives_the_daemon(void **state)
{
	struct fixture *f = *state;
	json_t *json = json_pack("{s:s}", "reason", "shutdown");
	struct store_process process = { .pid = 77 };
	const struct store_vm end = { .id = "g1", .desired = "paused", .forced = true,
				      .failed = true,
				      .last_exit = "{\"reason\":\"shutdown\"}" };

	assert_int_equal(add_vm(f, "g1"), STORE_UID_FIRST);
	assert_string_equal(vms(f), "g1 61000 {\"id\":\"g1\"} stopped 0 0 -");
	assert_int_equal(store_vm_set_desired(f->store, "g1", "running", false), 0);
	assert_int_equal(store_process_set(f->store, "vm:g1", &process), 0);
	assert_int_equal(store_vm_set_end(f->store, &end, "vm:g1"), 0);
	assert_int_equal(store_process_get(f->store, "vm:g1", &process), -ENOENT);
	assert_int_equal(store_vm_set_spec(f->store, "g1", json), 0);
	reopen(f);
	assert_string_equal(vms(f), "g1 61000 {\"reason\":\"shutdown\"} paused 1 1 "
				    "{\"reason\":\"shutdown\"}");
	assert_int_equal(store_vm_remove(f->store, "g1"), 0);
	vms(f);
	assert_int_equal(f->count, 0);
	json_decref(json);
}

static void test_users_are_given_once_and_again(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(add_vm(f, "b"), STORE_UID_FIRST);
	assert_int_equal(add_vm(f, "a"), STORE_UID_FIRST + 1);
	assert_int_equal(add_vm(f, "c"), STORE_UID_FIRST + 2);
	assert_int_equal(store_vm_remove(f->store, "a"), 0);
	assert_int_equal(add_vm(f, "d"), STORE_UID_FIRST + 1);
	assert_int_equal(add_vm(f, "e"), STORE_UID_FIRST + 3);
}

static void test_id_is_taken(void **state)
{
	struct fixture *f = *state;
	json_t *spec = json_object();
	uid_t uid;

	add_vm(f, "a");
	assert_int_equal(store_vm_add(f->store, "a", spec, &uid), -EEXIST);
	assert_int_equal(store_port_add(f->store, "p", spec), 0);
	assert_int_equal(store_port_add(f->store, "p", spec), -EEXIST);
	json_decref(spec);
}

static void test_state_that_is_none_is_refused(void **state)
{
	struct fixture *f = *state;

	add_vm(f, "a");
	assert_true(store_vm_set_desired(f->store, "a", "flying", false) < 0);
	assert_string_equal(vms(f), "a 61000 {\"id\":\"a\"} stopped 0 0 -");
}

/* Half of it would start an ended guest again, or leave a process nobody looks for. */
static void test_end_is_noted_as_a_whole(void **state)
{
	struct store_vm end = { .id = "a", .desired = "flying", .last_exit = "{}" };
	struct store_process process = { .pid = 77 };
	struct fixture *f = *state;

	add_vm(f, "a");
	assert_int_equal(store_vm_set_desired(f->store, "a", "running", false), 0);
	assert_int_equal(store_process_set(f->store, "vm:a", &process), 0);
	assert_true(store_vm_set_end(f->store, &end, "vm:a") < 0);
	assert_int_equal(store_process_get(f->store, "vm:a", &process), 0);
	assert_string_equal(vms(f), "a 61000 {\"id\":\"a\"} running 0 0 -");
	end.desired = "stopped";
	assert_int_equal(store_vm_set_end(f->store, &end, "vm:a"), 0);
	assert_string_equal(vms(f), "a 61000 {\"id\":\"a\"} stopped 0 0 {}");
}

static int note_port(void *opaque, const char *id, const char *spec)
{
	struct fixture *f = opaque;

	f->count++;
	snprintf(f->seen, sizeof(f->seen), "%s %s", id, spec);
	return f->count == 2 ? -ECANCELED : 0;
}

static void test_ports(void **state)
{
	struct fixture *f = *state;
	json_t *spec = json_pack("{s:s}", "devargs", "it's \"quoted\"; DROP TABLE ports");

	assert_int_equal(store_port_add(f->store, "up0", spec), 0);
	reopen(f);
	assert_int_equal(store_port_each(f->store, note_port, f), 0);
	assert_string_equal(f->seen,
			    "up0 {\"devargs\":\"it's \\\"quoted\\\"; DROP TABLE ports\"}");
	assert_int_equal(store_port_add(f->store, "up1", spec), 0);
	assert_int_equal(store_port_add(f->store, "up2", spec), 0);
	f->count = 0;
	assert_int_equal(store_port_each(f->store, note_port, f), -ECANCELED);
	assert_int_equal(f->count, 2);
	assert_int_equal(store_port_remove(f->store, "up0"), 0);
	json_decref(spec);
}

static void test_processes(void **state)
{
	struct store_process process = { .pid = 77, .start_time = 1ULL << 40 }, found;
	struct fixture *f = *state;

	strcpy(process.boot_id, "boot");
	strcpy(process.started_at, "then");
	assert_int_equal(store_process_get(f->store, "switch", &found), -ENOENT);
	assert_int_equal(store_process_set(f->store, "switch", &process), 0);
	process.pid = 78;
	assert_int_equal(store_process_set(f->store, "switch", &process), 0);
	reopen(f);
	assert_int_equal(store_process_get(f->store, "switch", &found), 0);
	assert_int_equal(found.pid, 78);
	assert_true(found.start_time == 1ULL << 40);
	assert_string_equal(found.boot_id, "boot");
	assert_string_equal(found.started_at, "then");
	assert_int_equal(store_process_clear(f->store, "switch"), 0);
	assert_int_equal(store_process_get(f->store, "switch", &found), -ENOENT);
}

static void test_file_that_is_no_store(void **state)
{
	struct fixture *f = *state;
	struct store *store = NULL;
	FILE *file;

	store_close(f->store);
	f->store = NULL;
	file = fopen(f->path, "w");
	assert_non_null(file);
	for (int i = 0; i < 100; i++)
		fputs("this is no database ", file);
	fclose(file);
	assert_int_equal(store_open(f->path, &store), -EIO);
	assert_null(store);
	assert_int_equal(store_open("/nonexistent/vmm.db", &store), -EIO);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_vm_outlives_the_daemon),
		STORE_TEST(test_users_are_given_once_and_again),
		STORE_TEST(test_id_is_taken),
		STORE_TEST(test_state_that_is_none_is_refused),
		STORE_TEST(test_end_is_noted_as_a_whole),
		STORE_TEST(test_ports),
		STORE_TEST(test_processes),
		STORE_TEST(test_file_that_is_no_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
