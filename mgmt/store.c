#include "mgmt/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_text.h"
#include "core/log.h"
#include "schema.sql.h" /* made of schema.sql: store_schema[] */

#define STORE_VERSION 1

struct store {
	sqlite3 *db;
};

static int store_failed(struct store *store, const char *what)
{
	log_err("store: %s: %s", what, sqlite3_errmsg(store->db));
	return -EIO;
}

void store_problem(struct store *store, struct problem *problem)
{
	bool failed = sqlite3_errcode(store->db) != SQLITE_OK;

	problem_set(problem, 503, NULL, "the store cannot be written: %s",
		    failed ? sqlite3_errmsg(store->db) : "out of memory");
}

static int store_run(struct store *store, const char *sql)
{
	char *message = NULL;

	if (sqlite3_exec(store->db, sql, NULL, NULL, &message) == SQLITE_OK)
		return 0;
	log_err("store: %s", message ? message : "out of memory");
	sqlite3_free(message);
	return -EIO;
}

/*
 * Prepares a statement and binds its arguments by the letters of `types`: s a string (or NULL),
 * i an int64_t. NULL after a failure, which was logged.
 */
static sqlite3_stmt *store_prepare(struct store *store, const char *sql, const char *types,
				   va_list ap)
{
	sqlite3_stmt *stmt;
	int ret = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);

	for (int i = 0; ret == SQLITE_OK && types[i]; i++) {
		if (types[i] == 's')
			ret = sqlite3_bind_text(stmt, i + 1, va_arg(ap, const char *), -1,
						SQLITE_TRANSIENT);
		else
			ret = sqlite3_bind_int64(stmt, i + 1, va_arg(ap, int64_t));
	}
	if (ret == SQLITE_OK)
		return stmt;
	store_failed(store, sql); /* what is not bound would be NULL, and fit no row */
	sqlite3_finalize(stmt);
	return NULL;
}

static sqlite3_stmt *store_query(struct store *store, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, types);
	stmt = store_prepare(store, sql, types, ap);
	va_end(ap);
	return stmt;
}

/* One statement that returns no rows. -EEXIST when a key is taken. */
static int store_exec(struct store *store, const char *sql, const char *types, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;
	int ret;

	va_start(ap, types);
	stmt = store_prepare(store, sql, types, ap);
	va_end(ap);
	if (!stmt)
		return -EIO;
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_CONSTRAINT)
		ret = -EEXIST;
	else
		ret = ret == SQLITE_DONE ? 0 : store_failed(store, sql);
	sqlite3_finalize(stmt);
	return ret;
}

static int64_t store_version(struct store *store)
{
	sqlite3_stmt *stmt = store_query(store, "PRAGMA user_version", "");
	int64_t version = -EIO;

	if (stmt && sqlite3_step(stmt) == SQLITE_ROW)
		version = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return version;
}

static int store_create_schema(struct store *store)
{
	int err = store_run(store, "BEGIN IMMEDIATE");

	if (err)
		return err;
	err = store_run(store, store_schema);
	if (!err)
		err = store_run(store, "PRAGMA user_version = 1");
	if (!err)
		err = store_run(store, "COMMIT");
	return err;
}

static int store_set_up(struct store *store)
{
	int64_t version;
	int err;

	/*
	 * FULL: a commit is on disk before it is acted upon, power cuts included. Nothing temporary
	 * becomes a file: behind the daemon's walls there is no other directory than the store's.
	 */
	err = store_run(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			       "PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF;"
			       "PRAGMA temp_store = MEMORY");
	if (err)
		return err;
	version = store_version(store);
	if (version == 0)
		return store_create_schema(store);
	if (version == STORE_VERSION)
		return 0;
	if (version > 0)
		log_err("the store is of version %lld, this program knows %d",
			(long long)version, STORE_VERSION);
	return -EIO;
}

int store_open(const char *path, struct store **out)
{
	struct store *store = calloc(1, sizeof(*store));
	char seed;

	if (!store)
		return -ENOMEM;
	sqlite3_randomness(sizeof(seed), &seed); /* opens /dev/urandom now or never */
	if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK) {
		log_err("store: cannot open %s: %s", path, sqlite3_errmsg(store->db));
		store_close(store);
		return -EIO;
	}
	if (store_set_up(store) < 0) {
		log_err("store: %s cannot be used; put a copy that can in its place, or move it "
			"away to begin with no VMs",
			path);
		store_close(store);
		return -EIO;
	}
	*out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	sqlite3_close(store->db);
	free(store);
}

/* The lowest user no VM has; -ENOSPC. */
static int64_t store_free_uid(struct store *store)
{
	sqlite3_stmt *stmt = store_query(store, "SELECT uid FROM vms ORDER BY uid", "");
	int64_t uid = STORE_UID_FIRST;

	if (!stmt)
		return -EIO;
	while (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) == uid)
		uid++;
	if (sqlite3_finalize(stmt) != SQLITE_OK)
		return store_failed(store, "looking for a free uid");
	return uid < STORE_UID_FIRST + STORE_UID_COUNT ? uid : -ENOSPC;
}

int store_vm_add(struct store *store, const char *id, const json_t *spec, uid_t *uid)
{
	int64_t free_uid = store_free_uid(store);
	char *text;
	int err;

	if (free_uid < 0)
		return (int)free_uid;
	text = json_text_dump(spec, JSON_COMPACT, NULL);
	if (!text)
		return -ENOMEM;
	err = store_exec(store, "INSERT INTO vms (id, uid, spec) VALUES (?, ?, ?)", "sis", id,
			 free_uid, text);
	free(text);
	if (!err)
		*uid = (uid_t)free_uid;
	return err;
}

int store_vm_set_spec(struct store *store, const char *id, const json_t *spec)
{
	char *text = json_text_dump(spec, JSON_COMPACT, NULL);
	int err;

	if (!text)
		return -ENOMEM;
	err = store_exec(store, "UPDATE vms SET spec = ? WHERE id = ?", "ss", text, id);
	free(text);
	return err;
}

int store_vm_set_desired(struct store *store, const char *id, const char *desired, bool forced)
{
	return store_exec(store, "UPDATE vms SET desired = ?, forced = ? WHERE id = ?", "sis",
			  desired, (int64_t)forced, id);
}

int store_vm_set_end(struct store *store, const struct store_vm *vm, const char *process)
{
	int err = store_run(store, "BEGIN IMMEDIATE");

	if (err)
		return err;
	err = store_exec(store, "UPDATE vms SET desired = ?, forced = ?, failed = ?, last_exit = ?"
				" WHERE id = ?", "siiss", vm->desired, (int64_t)vm->forced,
			 (int64_t)vm->failed, vm->last_exit, vm->id);
	if (!err)
		err = store_process_clear(store, process);
	if (!err)
		err = store_run(store, "COMMIT");
	if (err && store_run(store, "ROLLBACK") < 0)
		log_err("store: the failed change was not taken back");
	return err;
}

int store_vm_remove(struct store *store, const char *id)
{
	return store_exec(store, "DELETE FROM vms WHERE id = ?", "s", id);
}

static const char *column_text(sqlite3_stmt *stmt, int column)
{
	return (const char *)sqlite3_column_text(stmt, column);
}

int store_vm_each(struct store *store, int (*fn)(void *opaque, const struct store_vm *vm),
		  void *opaque)
{
	sqlite3_stmt *stmt;
	int err = 0;

	stmt = store_query(store, "SELECT id, uid, spec, desired, forced, failed, last_exit"
				  " FROM vms ORDER BY id", "");
	if (!stmt)
		return -EIO;
	while (!err && sqlite3_step(stmt) == SQLITE_ROW) {
		struct store_vm vm = {
			.id = column_text(stmt, 0),
			.uid = (uid_t)sqlite3_column_int64(stmt, 1),
			.spec = column_text(stmt, 2),
			.desired = column_text(stmt, 3),
			.forced = sqlite3_column_int64(stmt, 4) != 0,
			.failed = sqlite3_column_int64(stmt, 5) != 0,
			.last_exit = column_text(stmt, 6),
		};

		err = vm.id && vm.spec && vm.desired ? fn(opaque, &vm) : -ENOMEM;
	}
	if (sqlite3_finalize(stmt) != SQLITE_OK && !err)
		err = store_failed(store, "reading the VMs");
	return err;
}

int store_port_add(struct store *store, const char *id, const json_t *spec)
{
	char *text = json_text_dump(spec, JSON_COMPACT, NULL);
	int err;

	if (!text)
		return -ENOMEM;
	err = store_exec(store, "INSERT INTO ports (id, spec) VALUES (?, ?)", "ss", id, text);
	free(text);
	return err;
}

int store_port_remove(struct store *store, const char *id)
{
	return store_exec(store, "DELETE FROM ports WHERE id = ?", "s", id);
}

int store_port_each(struct store *store,
		    int (*fn)(void *opaque, const char *id, const char *spec), void *opaque)
{
	sqlite3_stmt *stmt = store_query(store, "SELECT id, spec FROM ports ORDER BY id", "");
	int err = 0;

	if (!stmt)
		return -EIO;
	while (!err && sqlite3_step(stmt) == SQLITE_ROW)
		err = column_text(stmt, 0) && column_text(stmt, 1) ?
			      fn(opaque, column_text(stmt, 0), column_text(stmt, 1)) :
			      -ENOMEM;
	if (sqlite3_finalize(stmt) != SQLITE_OK && !err)
		err = store_failed(store, "reading the ports");
	return err;
}

int store_process_set(struct store *store, const char *name, const struct store_process *process)
{
	return store_exec(store, "INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?)",
			  "siiss", name, (int64_t)process->pid, (int64_t)process->start_time,
			  process->boot_id, process->started_at);
}

int store_process_clear(struct store *store, const char *name)
{
	return store_exec(store, "DELETE FROM processes WHERE name = ?", "s", name);
}

int store_process_get(struct store *store, const char *name, struct store_process *process)
{
	sqlite3_stmt *stmt;
	int ret, err;

	stmt = store_query(store, "SELECT pid, start_time, boot_id, started_at FROM processes"
				  " WHERE name = ?", "s", name);
	if (!stmt)
		return -EIO;
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_ROW && column_text(stmt, 2) && column_text(stmt, 3)) {
		process->pid = (pid_t)sqlite3_column_int64(stmt, 0);
		process->start_time = (uint64_t)sqlite3_column_int64(stmt, 1);
		snprintf(process->boot_id, sizeof(process->boot_id), "%s", column_text(stmt, 2));
		snprintf(process->started_at, sizeof(process->started_at), "%s",
			 column_text(stmt, 3));
		err = 0;
	} else {
		err = ret == SQLITE_DONE ? -ENOENT : store_failed(store, "reading a process");
	}
	sqlite3_finalize(stmt);
	return err;
}
