#include "vswitch/control.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_version.h>

#include "core/log.h"
#include "core/rpc_server.h"
#include "vswitch/port_ethdev.h"
#include "vswitch/port_vhost.h"
#include "vswitch/walls.h"

struct control {
	struct vswitch *sw;
	struct rpc_server *server;
};

/* ---- parameters: each getter answers the call itself when it returns false ---- */

/* names: the members allowed, ended by NULL. */
static bool control_known_keys(struct rpc_call *call, const json_t *params,
			       const char *const *names)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)params, key, value)
	{
		unsigned int i = 0;

		while (names[i] && strcmp(names[i], key) != 0)
			i++;
		if (!names[i]) {
			rpc_fail(call, RPC_INVALID_PARAMS, key, "unknown parameter \"%s\"", key);
			return false;
		}
	}
	return true;
}

/* *value stays NULL when it is missing and not required. */
static bool control_get_string(struct rpc_call *call, const json_t *params, const char *name,
			       bool required, size_t max, const char **value)
{
	const json_t *member = json_object_get(params, name);

	*value = NULL;
	if (!member && !required)
		return true;
	if (!json_is_string(member) || json_string_length(member) == 0 ||
	    json_string_length(member) > max ||
	    strlen(json_string_value(member)) != json_string_length(member)) {
		rpc_fail(call, RPC_INVALID_PARAMS, name,
			 "\"%s\" must be a string of 1 to %zu characters", name, max);
		return false;
	}
	*value = json_string_value(member);
	return true;
}

static bool control_get_integer(struct rpc_call *call, const json_t *params, const char *name,
				json_int_t min, json_int_t max, unsigned int *value)
{
	const json_t *member = json_object_get(params, name);

	if (!member)
		return true;
	if (!json_is_integer(member) || json_integer_value(member) < min ||
	    json_integer_value(member) > max) {
		rpc_fail(call, RPC_INVALID_PARAMS, name,
			 "\"%s\" must be an integer from %lld to %lld", name, (long long)min,
			 (long long)max);
		return false;
	}
	*value = (unsigned int)json_integer_value(member);
	return true;
}

static bool control_get_boolean(struct rpc_call *call, const json_t *params, const char *name,
				bool *value)
{
	const json_t *member = json_object_get(params, name);

	if (member && !json_is_boolean(member)) {
		rpc_fail(call, RPC_INVALID_PARAMS, name, "\"%s\" must be true or false", name);
		return false;
	}
	if (member)
		*value = json_is_true(member);
	return true;
}

static bool control_get_id(struct rpc_call *call, const json_t *params, const char **id)
{
	if (!control_get_string(call, params, "id", true, PORT_ID_MAX, id))
		return false;
	for (const char *c = *id; *c; c++) {
		if ((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-')
			continue;
		rpc_fail(call, RPC_INVALID_PARAMS, "id",
			 "\"id\" may hold lower-case letters, digits and \"-\" only");
		return false;
	}
	return true;
}

static struct port *control_get_port(struct rpc_call *call, struct vswitch *sw,
				     const json_t *params)
{
	static const char *const names[] = {"id", NULL};
	struct port *port;
	const char *id;

	if (!control_known_keys(call, params, names) || !control_get_id(call, params, &id))
		return NULL;
	port = port_table_find(&sw->ports, id);
	if (!port)
		rpc_fail(call, RPC_NOT_FOUND, NULL, "there is no port \"%s\"", id);
	return port;
}

static bool control_no_params(struct rpc_call *call, const json_t *params)
{
	static const char *const none[] = {NULL};

	return control_known_keys(call, params, none);
}

/* ---- results ---- */

static json_t *control_counters(const struct stats *stats)
{
	json_t *drops = json_object();

	for (unsigned int i = 0; i < DROP_REASONS; i++)
		json_object_set_new(drops, stats_drop_name((enum drop_reason)i),
				    json_integer((json_int_t)stats->drops[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "rx_frames",
			 (json_int_t)stats->rx_frames, "rx_bytes", (json_int_t)stats->rx_bytes,
			 "tx_frames", (json_int_t)stats->tx_frames, "tx_bytes",
			 (json_int_t)stats->tx_bytes, "copies", (json_int_t)stats->copies,
			 "queued", (json_int_t)stats->queued, "drops", drops);
}

static json_t *control_port(struct port *port)
{
	struct stats stats;
	json_t *object = json_object();

	port_stats(port, &stats);
	json_object_set_new(object, "id", json_string(port->id));
	json_object_set_new(object, "type", json_string(port->ops->type));
	json_object_set_new(object, "link", json_string(port->ops->link(port) ? "up" : "down"));
	json_object_set_new(object, "mtu", json_integer(port->mtu));
	json_object_set_new(object, "declared", json_boolean(port->declared));
	port->ops->describe(port, object);
	json_object_set_new(object, "counters", control_counters(&stats));
	return object;
}

static json_t *control_lcores(const struct vswitch *sw)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < lcores_count(sw->lcores); i++) {
		struct lcore_info info;

		lcores_info(sw->lcores, i, &info);
		json_array_append_new(
			list,
			json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "lcore",
				  (int)info.eal_id, "queues", (int)info.queues, "bursts",
				  (json_int_t)info.bursts, "sleeps", (json_int_t)info.sleeps,
				  "kicks", (json_int_t)info.kicks, "sleep_ns",
				  (json_int_t)info.sleep_ns, "interrupted",
				  (json_int_t)info.interrupted, "learn_lost",
				  (json_int_t)info.learn_lost));
	}
	return list;
}

/* ---- methods ---- */

static void control_switch_info(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	struct vswitch *sw = control->sw;
	const struct fdb *fdb = sw->fdb;
	struct stats stats;
	json_t *table;

	if (!control_no_params(call, params))
		return;
	switch_stats(sw, &stats);
	table = json_pack("{s:i, s:i, s:I, s:I, s:I, s:I}", "entries", (int)fdb->entries,
			  "age_seconds", (int)fdb->age, "learned", (json_int_t)fdb->learned,
			  "moved", (json_int_t)fdb->moved, "aged", (json_int_t)fdb->aged,
			  "evicted", (json_int_t)fdb->evicted);
	rpc_reply(call, json_pack("{s:s, s:i, s:o, s:o, s:o, s:I}", "dpdk", rte_version(), "pid",
				  (int)getpid(), "fdb", table, "lcores", control_lcores(sw),
				  "counters", control_counters(&stats), "imbalance",
				  (json_int_t)stats_imbalance(&stats)));
}

static bool control_port_socket(struct rpc_call *call, const json_t *params,
				struct switch_port_config *config)
{
	const char *role;

	if (!control_get_string(call, params, "socket", true,
				sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
				&config->socket) ||
	    !control_get_string(call, params, "role", false, 8, &role) ||
	    !control_get_boolean(call, params, "allow_unsealed", &config->allow_unsealed))
		return false;
	config->client = role && strcmp(role, "client") == 0;
	if (role && !config->client && strcmp(role, "server") != 0) {
		rpc_fail(call, RPC_INVALID_PARAMS, "role",
			 "\"role\" is \"%s\", but must be \"server\" or \"client\"", role);
		return false;
	}
	return true;
}

static bool control_port_config(struct rpc_call *call, const json_t *params,
				struct switch_port_config *config)
{
	static const char *const vhost_names[] = {"id", "type", "mtu", "queue_pairs", "socket",
						  "role", "allow_unsealed", NULL};
	static const char *const ethdev_names[] = {"id", "type", "mtu", "queue_pairs", "devargs",
						   NULL};
	unsigned int max_pairs = PORT_VHOST_MAX_PAIRS;
	const char *type;

	if (!control_get_id(call, params, &config->id) ||
	    !control_get_string(call, params, "type", true, 16, &type) ||
	    !control_get_integer(call, params, "mtu", PORT_MTU_MIN, PORT_MTU_MAX, &config->mtu))
		return false;
	if (strcmp(type, "vhost-user") == 0) {
		if (!control_known_keys(call, params, vhost_names) ||
		    !control_port_socket(call, params, config))
			return false;
	} else if (strcmp(type, "ethdev") == 0) {
		max_pairs = PORT_ETHDEV_MAX_QUEUES;
		if (!control_known_keys(call, params, ethdev_names) ||
		    !control_get_string(call, params, "devargs", true, 1024, &config->devargs))
			return false;
	} else {
		rpc_fail(call, RPC_INVALID_PARAMS, "type",
			 "\"type\" is \"%s\", but must be \"vhost-user\" or \"ethdev\"", type);
		return false;
	}
	return control_get_integer(call, params, "queue_pairs", 1, max_pairs,
				   &config->queue_pairs);
}

static void control_port_add(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct switch_port_config config = {.mtu = PORT_MTU_DEFAULT, .queue_pairs = 1};
	struct control *control = opaque;
	struct port *port;
	char why[256];
	int rc;

	if (!control_port_config(call, params, &config))
		return;
	if (config.devargs && walls_check_device(config.devargs, why, sizeof(why)) < 0) {
		rpc_fail(call, RPC_REFUSED, "devargs", "%s", why);
		return;
	}
	rc = switch_port_add(control->sw, &config, &port, why, sizeof(why));
	if (rc == 0)
		rpc_reply(call, control_port(port));
	else
		rpc_fail(call, rc == -EEXIST ? RPC_EXISTS : RPC_HOST_FAILURE, NULL, "%s", why);
}

static void control_port_remove(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	struct port *port = control_get_port(call, control->sw, params);

	if (!port)
		return;
	if (port->declared) {
		rpc_fail(call, RPC_REFUSED, "id",
			 "port \"%s\" was declared at the switch's start and stays as long as it",
			 port->id);
		return;
	}
	switch_port_remove(control->sw, port);
	rpc_reply(call, json_object());
}

static void control_port_list(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	json_t *list;

	if (!control_no_params(call, params))
		return;
	list = json_array();
	for (unsigned int i = 0; i < PORT_MAX; i++) {
		struct port *port = port_table_get(&control->sw->ports, (uint16_t)i);

		if (port)
			json_array_append_new(list, control_port(port));
	}
	rpc_reply(call, list);
}

static void control_port_counters(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	struct port *port = control_get_port(call, control->sw, params);
	struct stats stats;

	if (!port)
		return;
	port_stats(port, &stats);
	rpc_reply(call, control_counters(&stats));
}

#define CONTROL_FDB_MAX 8192u /* entries listed: the answer stays below a line's limit */

struct control_fdb_list {
	struct vswitch *sw;
	json_t *list;
};

static void control_fdb_entry(void *opaque, const uint8_t mac[6], uint16_t index, uint32_t age)
{
	struct control_fdb_list *list = opaque;
	struct port *port = port_table_get(&list->sw->ports, index);
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	if (port && json_array_size(list->list) < CONTROL_FDB_MAX)
		json_array_append_new(list->list,
				      json_pack("{s:s, s:s, s:i}", "mac", text, "port", port->id,
						"age_seconds", (int)age));
}

static void control_fdb_list(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;
	struct control_fdb_list list = {.sw = control->sw};

	if (!control_no_params(call, params))
		return;
	list.list = json_array();
	fdb_walk(control->sw->fdb, control_fdb_entry, &list);
	rpc_reply(call, list.list);
}

static void control_fdb_flush(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct control *control = opaque;

	if (!control_no_params(call, params))
		return;
	fdb_flush(control->sw->fdb, FDB_NO_PORT);
	rpc_reply(call, json_object());
}

static const struct rpc_method control_methods[] = {
	{"switch.info", 1, control_switch_info},
	{"port.add", 1, control_port_add},
	{"port.remove", 1, control_port_remove},
	{"port.list", 1, control_port_list},
	{"port.counters", 1, control_port_counters},
	{"fdb.list", 1, control_fdb_list},
	{"fdb.flush", 1, control_fdb_flush},
	{NULL},
};

/* ---- the socket ---- */

static int control_parse_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	return *text && !*end && fd >= 0 && fd <= INT_MAX ? (int)fd : -EINVAL;
}

/* The owner of the socket that fd listens on: who made it for us says who may use it. */
static uid_t control_socket_owner(int fd)
{
	struct sockaddr_un addr = {0};
	socklen_t len = sizeof(addr) - 1;
	struct stat st;

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 || !addr.sun_path[0] ||
	    stat(addr.sun_path, &st) < 0)
		return geteuid();
	return st.st_uid;
}

int control_create(struct vswitch *sw, const char *file, uid_t allowed_uid,
		   struct control **out)
{
	struct control *control = calloc(1, sizeof(*control));
	struct rpc_server_config config = {
		.path = file,
		.listen_fd = -1,
		.connected_fd = -1,
		.allowed_uid = allowed_uid,
		.methods = control_methods,
		.opaque = control,
	};
	int rc = -EINVAL;

	if (!control) {
		log_err("out of memory for the control socket");
		return -ENOMEM;
	}
	control->sw = sw;
	if (strncmp(file, "fd:", 3) == 0) {
		config.path = NULL;
		config.listen_fd = control_parse_fd(file + 3);
		if (config.listen_fd < 0) {
			log_err("--control \"%s\": expected a path or fd:NUMBER", file);
			goto err_free;
		}
	}
	if (allowed_uid == (uid_t)-1)
		config.allowed_uid = config.path ? geteuid()
						 : control_socket_owner(config.listen_fd);
	rc = rpc_server_create(sw->loop, &config, &control->server);
	if (rc < 0)
		goto err_free;
	*out = control;
	return 0;

err_free:
	free(control);
	return rc;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	rpc_server_destroy(control->server);
	free(control);
}
