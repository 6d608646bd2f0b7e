#include "launch/methods.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "core/ratelimit.h"
#include "launch/children.h"
#include "launch/host_json.h"
#include "launch/programs.h"

#define VM_OVERHEAD    (64 * MIB) /* of locked memory beside the guest's RAM */
#define VM_NOFILE      1024u
#define MAX_LIMIT_MIB  (8u * 1024 * 1024)
#define MAX_NOFILE     65536u
#define MAX_VCPUS      1024
#define MAX_MEMORY_MIB (4u * 1024 * 1024)

static void fail(struct rpc_call *call, const struct launch_error *error)
{
	static struct ratelimit limit = RATELIMIT_INIT(10000, 50);
	uint32_t held_back;

	/* The client may ask for nonsense without end. */
	if (ratelimit_pass(&limit, &held_back))
		log_warn("refused: %s%s%s", error->field, error->field[0] ? ": " : "", error->why);
	rpc_fail(call, error->code, error->field[0] ? error->field : NULL, "%s", error->why);
}

static int bad(struct launch_error *error, const char *field, const char *allowed)
{
	return launch_refuse(error, RPC_INVALID_PARAMS, field, "%s", allowed);
}

/* params may hold these keys only. */
static int check_keys(const json_t *params, const char *const *keys, struct launch_error *error)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)params, key, value) {
		unsigned int i = 0;

		while (keys[i] && strcmp(keys[i], key))
			i++;
		if (!keys[i])
			return launch_refuse(error, RPC_INVALID_PARAMS, key, "no such parameter");
	}
	return 0;
}

static int get_int(const json_t *object, const char *key, json_int_t min, json_int_t max,
		   json_int_t *value, struct launch_error *error)
{
	const json_t *member = json_object_get(object, key);

	if (!json_is_integer(member) || json_integer_value(member) < min ||
	    json_integer_value(member) > max)
		return launch_refuse(error, RPC_INVALID_PARAMS, key,
				     "a whole number from %lld to %lld is needed", min, max);
	*value = json_integer_value(member);
	return 0;
}

static int get_vm_id(const json_t *params, const char **id, struct launch_error *error)
{
	*id = json_string_value(json_object_get(params, "id"));
	return *id && dirs_vm_id_ok(*id) ? 0 : bad(error, "id", "1 to 32 of a-z, 0-9 and -");
}

static int get_port_id(const json_t *params, const char **id, struct launch_error *error)
{
	*id = json_string_value(json_object_get(params, "id"));
	return *id && dirs_port_id_ok(*id) ?
		       0 :
		       bad(error, "id", "1 to 65 of a-z, 0-9, - and ., not beginning with .");
}

static int get_limits(const json_t *params, struct vm_limits *limits, struct launch_error *error)
{
	static const char *const keys[] = {"memlock_mib", "nofile", NULL};
	const json_t *object = json_object_get(params, "limits");
	const json_t *memory = json_object_get(json_object_get(params, "config"), "memory");
	json_int_t value = json_integer_value(json_object_get(memory, "size_mib"));
	json_int_t vcpus;
	const char *page;
	int err;

	/* DMA from passed-through devices and io_uring may pin all of the guest's RAM. */
	limits->memlock = (uint64_t)MAX(0, MIN(value, MAX_MEMORY_MIB)) * MIB + VM_OVERHEAD;
	limits->nofile = VM_NOFILE;
	limits->memory = (uint64_t)MAX(0, MIN(value, MAX_MEMORY_MIB)) * MIB;
	page = json_string_value(json_object_get(memory, "page_size"));
	limits->alignment = page && !strcmp(page, "1G") ? GIB : 2 * MIB;
	vcpus = json_integer_value(json_object_get(json_object_get(params, "config"), "vcpus"));
	limits->vcpus = (unsigned int)MAX(1, MIN(vcpus, MAX_VCPUS));
	if (!object)
		return 0;
	if (!json_is_object(object))
		return bad(error, "limits", "an object is needed");
	err = check_keys(object, keys, error);
	if (!err && json_object_get(object, "memlock_mib")) {
		err = get_int(object, "memlock_mib", 0, MAX_LIMIT_MIB, &value, error);
		limits->memlock = (uint64_t)value * MIB;
	}
	if (!err && json_object_get(object, "nofile")) {
		err = get_int(object, "nofile", 64, MAX_NOFILE, &value, error);
		limits->nofile = (uint64_t)value;
	}
	return err;
}

static void reply_process(struct rpc_call *call, pid_t pid, uint64_t start_time)
{
	/* Nobody would know of it. Its end will be noticed like any other. */
	if (!rpc_reply(call, json_pack("{s:i, s:I}", "pid", (int)pid, "start_time",
				       (json_int_t)start_time)))
		kill(pid, SIGKILL);
}

/*
 * Answered when our turn has come (dirs_lock): no predecessor is at work any more, and what it has done can
 * be seen.
 */
static void handle_ready(struct rpc_call *call, const json_t *params, void *opaque)
{
	rpc_reply(call, json_null());
}

static void handle_switch_spawn(struct rpc_call *call, const json_t *params, void *opaque)
{
	static const char *const keys[] = {NULL};
	struct launch_error error;
	uint64_t start_time;
	pid_t pid;

	if (check_keys(params, keys, &error) ||
	    programs_start_switch(opaque, &pid, &start_time, &error))
		fail(call, &error);
	else
		reply_process(call, pid, start_time);
}

static int vm_spawn(struct launch *launch, const json_t *params, pid_t *pid, uint64_t *start_time,
		    struct launch_error *error)
{
	static const char *const keys[] = {"id", "uid", "config", "limits", NULL};
	const json_t *config = json_object_get(params, "config");
	struct vm_limits limits;
	json_int_t uid;
	const char *id;
	int err;

	err = check_keys(params, keys, error);
	if (!err)
		err = get_vm_id(params, &id, error);
	if (!err)
		err = get_int(params, "uid", LAUNCH_VM_UID_FIRST, LAUNCH_VM_UID_LAST, &uid, error);
	if (!err && !json_is_object(config))
		err = bad(error, "config", "an object is needed");
	if (!err)
		err = get_limits(params, &limits, error);
	return err ? err : programs_start_vm(launch, id, (uid_t)uid, config, &limits, pid,
					     start_time, error);
}

static void handle_vm_spawn(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct launch_error error;
	uint64_t start_time;
	pid_t pid;

	if (vm_spawn(opaque, params, &pid, &start_time, &error))
		fail(call, &error);
	else
		reply_process(call, pid, start_time);
}

/* The answer to something done with a directory. */
static void reply_directory(struct rpc_call *call, int err, const char *why)
{
	struct launch_error error;
	int code = err == -ENOENT ? RPC_NOT_FOUND : err == -EBUSY ? RPC_BUSY : RPC_HOST_FAILURE;

	if (err == -EDQUOT)
		code = RPC_REFUSED;
	if (!err) {
		rpc_reply(call, json_null());
		return;
	}
	(void)launch_refuse(&error, code, "id", "%s", why);
	fail(call, &error);
}

static void release_vm(struct rpc_call *call, struct launch *launch, const char *id)
{
	char why[256];
	int err = dirs_release_vm(&launch->dirs, id, why, sizeof(why));

	if (!err || err == -ENOENT)
		cgroups_remove(&launch->cgroups, id);
	reply_directory(call, err, why);
}

static void handle_vm_release(struct rpc_call *call, const json_t *params, void *opaque)
{
	static const char *const keys[] = {"id", NULL};
	struct launch_error error;
	const char *id;

	if (check_keys(params, keys, &error) || get_vm_id(params, &id, &error))
		fail(call, &error);
	else
		release_vm(call, opaque, id);
}

static void handle_port_prepare(struct rpc_call *call, const json_t *params, void *opaque)
{
	static const char *const keys[] = {"id", "gid", NULL};
	struct launch *launch = opaque;
	struct launch_error error;
	const char *id;
	json_int_t gid;
	char why[256];

	if (check_keys(params, keys, &error) || get_port_id(params, &id, &error) ||
	    get_int(params, "gid", LAUNCH_VM_UID_FIRST, LAUNCH_VM_UID_LAST, &gid, &error))
		fail(call, &error);
	else
		reply_directory(call,
				dirs_prepare_port(&launch->dirs, id, (gid_t)gid, why, sizeof(why)),
				why);
}

static void handle_port_release(struct rpc_call *call, const json_t *params, void *opaque)
{
	static const char *const keys[] = {"id", NULL};
	struct launch *launch = opaque;
	struct launch_error error;
	const char *id;
	char why[256];

	if (check_keys(params, keys, &error) || get_port_id(params, &id, &error))
		fail(call, &error);
	else
		reply_directory(call, dirs_release_port(&launch->dirs, id, why, sizeof(why)), why);
}

static void handle_process_kill(struct rpc_call *call, const json_t *params, void *opaque)
{
	static const char *const keys[] = {"pid", "start_time", "signal", NULL};
	json_int_t pid, start_time, signo;
	const struct launch *launch = opaque;
	struct launch_error error;
	int err;

	err = check_keys(params, keys, &error);
	if (!err)
		err = get_int(params, "pid", 2, INT32_MAX, &pid, &error);
	if (!err)
		err = get_int(params, "start_time", 1, INT64_MAX, &start_time, &error);
	if (!err)
		err = get_int(params, "signal", SIGKILL, SIGTERM, &signo, &error);
	if (!err && signo != SIGKILL && signo != SIGTERM)
		err = bad(&error, "signal", "9 or 15");
	if (!err)
		err = process_kill(&launch->dirs, (pid_t)pid, (uint64_t)start_time, (int)signo, &error);
	if (err)
		fail(call, &error);
	else
		rpc_reply(call, json_null());
}

/* Questions about the host, without parameters. */
static void reply_host(struct rpc_call *call, const json_t *params,
		       json_t *(*tell)(const struct host_roots *roots))
{
	static const char *const keys[] = {NULL};
	struct launch_error error;

	if (check_keys(params, keys, &error))
		fail(call, &error);
	else
		rpc_reply(call, tell(&host_roots_real));
}

static void handle_pci_list(struct rpc_call *call, const json_t *params, void *opaque)
{
	reply_host(call, params, host_json_pci);
}

static void handle_host_doctor(struct rpc_call *call, const json_t *params, void *opaque)
{
	reply_host(call, params, host_json_doctor);
}

const struct rpc_method launch_methods[] = {
	{"launch.ready", 1, handle_ready},
	{"switch.spawn", 1, handle_switch_spawn},
	{"vm.spawn", 1, handle_vm_spawn},
	{"vm.release", 1, handle_vm_release},
	{"port.prepare", 1, handle_port_prepare},
	{"port.release", 1, handle_port_release},
	{"process.kill", 1, handle_process_kill},
	{"pci.list", 1, handle_pci_list},
	{"host.doctor", 1, handle_host_doctor},
	{NULL},
};
