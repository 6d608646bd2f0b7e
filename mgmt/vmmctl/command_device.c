#include <stdio.h>
#include <stdlib.h>

#include "mgmt/vmmctl/command.h"

#define PATH_SIZE 256

static const struct column nic_columns[] = {
	{ "NIC", "id" }, { "MODE", "mode" }, { "MAC", "mac" }, { "MTU", "mtu" },
	{ "QUEUE PAIRS", "queue_pairs" }, { "PORT", "port" }, { 0 },
};

static const struct column disk_columns[] = {
	{ "DISK", "id" }, { "MODE", "mode" }, { "READ ONLY", "read_only" }, { "FILE", "file" },
	{ 0 },
};

static int devices_list(const struct context *context, const char *vm, const char *kind,
			const struct column *columns)
{
	char path[PATH_SIZE];

	if (check_id(vm))
		return STATUS_USAGE;
	snprintf(path, sizeof(path), "/v1/vms/%s/%s", vm, kind);
	return show_list(context, path, columns);
}

static int device_remove(const struct context *context, char **args, const char *kind)
{
	char path[PATH_SIZE];

	if (check_id(args[0]) || check_id(args[1]))
		return STATUS_USAGE;
	snprintf(path, sizeof(path), "/v1/vms/%s/%s/%s", args[0], kind, args[1]);
	return do_call(context, "DELETE", path, NULL);
}

/* key=value arguments into the body; body is stolen. */
static int device_add(const struct context *context, const char *vm, const char *kind, json_t *body,
		      char **args, int n_args)
{
	char path[PATH_SIZE];

	for (int i = 0; i < n_args; i++) {
		char *value = strchr(args[i], '=');

		if (!value) {
			json_decref(body);
			return usage_error("found \"%s\"; allowed: KEY=VALUE", args[i]);
		}
		*value++ = '\0';
		if (json_object_set_new(body, args[i], parse_value(args[i], value)) < 0) {
			json_decref(body);
			return usage_error("\"%s\" is no UTF-8 text", value);
		}
	}
	snprintf(path, sizeof(path), "/v1/vms/%s/%s", vm, kind);
	return do_call(context, "POST", path, body);
}

static int nic_list(const struct context *context, char **args, int n_args)
{
	return devices_list(context, args[0], "nics", nic_columns);
}

static int nic_add(const struct context *context, char **args, int n_args)
{
	if (check_id(args[0]))
		return STATUS_USAGE;
	return device_add(context, args[0], "nics", json_pack("{s:s}", "id", args[1]), args + 2,
			  n_args - 2);
}

static int nic_remove(const struct context *context, char **args, int n_args)
{
	return device_remove(context, args, "nics");
}

static int disk_list(const struct context *context, char **args, int n_args)
{
	return devices_list(context, args[0], "disks", disk_columns);
}

static int disk_add(const struct context *context, char **args, int n_args)
{
	if (check_id(args[0]))
		return STATUS_USAGE;
	return device_add(context, args[0], "disks",
			  json_pack("{s:s, s:s}", "id", args[1], "file", args[2]), args + 3,
			  n_args - 3);
}

static int disk_remove(const struct context *context, char **args, int n_args)
{
	return device_remove(context, args, "disks");
}

const struct command device_commands[] = {
	{ "nic list", "VM", "a VM's NICs", 1, 1, nic_list },
	{ "nic add", "VM NIC [mac=MAC] [mtu=N] [queue_pairs=N] [mode=MODE]",
	  "adds a NIC to a VM that is down", 2, 6, nic_add },
	{ "nic remove", "VM NIC", "takes a NIC out", 2, 2, nic_remove },
	{ "disk list", "VM", "a VM's disks", 1, 1, disk_list },
	{ "disk add", "VM DISK FILE [read_only=yes] [serial=TEXT] [mode=MODE]",
	  "adds a disk to a VM that is down", 3, 6, disk_add },
	{ "disk remove", "VM DISK", "takes a disk out", 2, 2, disk_remove },
	{ 0 },
};
