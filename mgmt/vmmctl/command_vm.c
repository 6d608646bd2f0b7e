#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "mgmt/vmmctl/command.h"
#include "mgmt/vmmctl/console.h"

#define PATH_SIZE 256

static const struct column vm_columns[] = {
	{ "VM", "id" },
	{ "STATE", "state" },
	{ "VCPUS", "vcpus" },
	{ "MIB", "memory.size_mib" },
	{ "PID", "pid" },
	{ "RESTARTS", "restarts" },
	{ "AUTOSTART", "autostart" },
	{ "REASON", "reason" },
	{ 0 },
};

static int vm_list(const struct context *context, char **args, int n_args)
{
	return show_list(context, "/v1/vms", vm_columns);
}

static int vm_show(const struct context *context, const char *id, const char *more)
{
	char path[PATH_SIZE];

	if (check_id(id))
		return STATUS_USAGE;
	snprintf(path, sizeof(path), "/v1/vms/%s%s", id, more);
	return show_object(context, path);
}

static int vm_get(const struct context *context, char **args, int n_args)
{
	return vm_show(context, args[0], "");
}

static int vm_info(const struct context *context, char **args, int n_args)
{
	return vm_show(context, args[0], "/info");
}

static int vm_counters(const struct context *context, char **args, int n_args)
{
	return vm_show(context, args[0], "/counters");
}

/* All are tried; the first failure is the exit status. */
static int each_vm(const struct context *context, char **args, int n_args, const char *method,
		   const char *action)
{
	char path[PATH_SIZE];
	int status, first = STATUS_OK;

	for (int i = 0; i < n_args; i++) {
		if (check_id(args[i]))
			return STATUS_USAGE;
		snprintf(path, sizeof(path), "/v1/vms/%s%s", args[i], action);
		status = do_call(context, method, path, NULL);
		first = first ? first : status;
	}
	return first;
}

static int vm_start(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "POST", "/start");
}

static int vm_stop(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "POST", "/stop");
}

static int vm_shutdown(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "POST", "/shutdown");
}

static int vm_pause(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "POST", "/pause");
}

static int vm_resume(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "POST", "/resume");
}

static int vm_reset(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "POST", "/reset");
}

static int vm_delete(const struct context *context, char **args, int n_args)
{
	return each_vm(context, args, n_args, "DELETE", "");
}

static int vm_console(const struct context *context, char **args, int n_args)
{
	struct rest_answer answer;
	char path[PATH_SIZE];
	const char *socket;
	int status;

	if (check_id(args[0]))
		return STATUS_USAGE;
	snprintf(path, sizeof(path), "/v1/vms/%s", args[0]);
	status = rest_call(&context->rest, "GET", path, NULL, &answer);
	if (status)
		return status;
	socket = json_string_value(json_object_get(answer.json, "console"));
	if (json_is_null(json_object_get(answer.json, "pid")) || !socket) {
		fprintf(stderr, "vmmctl: VM %s is %s; its console is there while it runs\n",
			args[0], json_string_value(json_object_get(answer.json, "state")));
		status = STATUS_REFUSED;
	} else {
		status = console_attach(socket);
	}
	rest_release(&answer);
	return status;
}

/* "ID", "ID,FILE" for a disk, and any number of ",key=value" behind it. */
static int add_device(json_t *spec, const char *kind, char *text)
{
	bool wants_file = !strcmp(kind, "disks");
	json_t *device = json_object();
	char *rest, *word = strtok_r(text, ",", &rest), *value;

	json_array_append_new(json_object_get(spec, kind), device);
	if (word)
		json_object_set_new(device, "id", json_string(word));
	while ((word = strtok_r(NULL, ",", &rest))) {
		value = strchr(word, '=');
		if (!value && !wants_file)
			return usage_error("vm create: found \"%s\"; allowed: KEY=VALUE", word);
		if (value)
			*value++ = '\0';
		else
			wants_file = false;
		if (json_object_set_new(device, value ? word : "file",
					value ? parse_value(word, value) : json_string(word)) < 0)
			return -1;
	}
	return 0;
}

enum {
	OPT_MEMORY = 256,
	OPT_PAGE_SIZE,
	OPT_VCPUS,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_NIC,
	OPT_DISK,
	OPT_RESTART,
	OPT_AUTOSTART,
	OPT_FILE,
};

static const struct option create_options[] = {
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "page-size", required_argument, NULL, OPT_PAGE_SIZE },
	{ "vcpus", required_argument, NULL, OPT_VCPUS },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "cmdline", required_argument, NULL, OPT_CMDLINE },
	{ "nic", required_argument, NULL, OPT_NIC },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "restart", required_argument, NULL, OPT_RESTART },
	{ "autostart", no_argument, NULL, OPT_AUTOSTART },
	{ "file", required_argument, NULL, OPT_FILE },
	{ 0 },
};

static int set_number(json_t *object, const char *key, const char *text)
{
	json_int_t number;

	if (parse_number(key, text, &number))
		return STATUS_USAGE;
	return json_object_set_new(object, key, json_integer(number));
}

static int create_take(json_t *spec, int opt, char *arg)
{
	json_t *memory = json_object_get(spec, "memory"), *boot = json_object_get(spec, "boot");

	switch (opt) {
	case OPT_MEMORY:
		return set_number(memory, "size_mib", arg);
	case OPT_PAGE_SIZE:
		return json_object_set_new(memory, "page_size", json_string(arg));
	case OPT_VCPUS:
		return set_number(spec, "vcpus", arg);
	case OPT_KERNEL:
		return json_object_set_new(boot, "kernel", json_string(arg));
	case OPT_INITRD:
		return json_object_set_new(boot, "initrd", json_string(arg));
	case OPT_CMDLINE:
		return json_object_set_new(boot, "cmdline", json_string(arg));
	case OPT_NIC:
		return add_device(spec, "nics", arg);
	case OPT_DISK:
		return add_device(spec, "disks", arg);
	case OPT_RESTART:
		return json_object_set_new(spec, "restart", json_string(arg));
	case OPT_AUTOSTART:
		return json_object_set_new(spec, "autostart", json_true());
	default:
		return 0;
	}
}

static int vm_create(const struct context *context, char **args, int n_args)
{
	json_t *spec = json_pack("{s:{}, s:{}, s:[], s:[]}", "memory", "boot", "nics", "disks");
	const char *file = NULL;
	bool options = false;
	int opt, err = 0;

	/* getopt looks at argv from 1 on: the word before the arguments stands for argv[0]. */
	optind = 1;
	opterr = 0;
	while (!err && (opt = getopt_long(n_args + 1, args - 1, "", create_options, NULL)) != -1) {
		options |= opt != OPT_FILE;
		if (opt == '?')
			err = usage_error("vm create: \"%s\": unknown option or missing value",
					  args[optind - 2]);
		else if (opt == OPT_FILE)
			file = optarg;
		else
			err = create_take(spec, opt, optarg);
		if (err < 0)
			usage_error("vm create: \"%s\" is no UTF-8 text", optarg);
	}
	args += optind - 1;
	n_args -= optind - 1;
	if (!err && (n_args != (file ? 0 : 1) || (file && options)))
		err = usage_error("vm create: give an id, or --file FILE alone");
	if (!err && file) {
		json_decref(spec);
		spec = read_json(file);
		err = spec ? 0 : STATUS_USAGE;
	} else if (!err) {
		json_object_set_new(spec, "id", json_string(args[0]));
	}
	if (err) {
		json_decref(spec);
		return STATUS_USAGE;
	}
	return do_call(context, "POST", "/v1/vms", spec);
}

/* vm set ID restart=POLICY autostart=yes|no */
static int vm_set(const struct context *context, char **args, int n_args)
{
	json_t *policy = json_object();
	char path[PATH_SIZE];

	if (check_id(args[0])) {
		json_decref(policy);
		return STATUS_USAGE;
	}
	for (int i = 1; i < n_args; i++) {
		if (!strncmp(args[i], "restart=", 8)) {
			json_object_set_new(policy, "restart", json_string(args[i] + 8));
		} else if (!strcmp(args[i], "autostart=yes") || !strcmp(args[i], "autostart=no")) {
			json_object_set_new(policy, "autostart",
					    json_boolean(!strcmp(args[i], "autostart=yes")));
		} else {
			json_decref(policy);
			return usage_error("vm set: found \"%s\"; allowed: restart=never, "
					   "on-failure or always, autostart=yes or no", args[i]);
		}
	}
	snprintf(path, sizeof(path), "/v1/vms/%s", args[0]);
	return do_call(context, "PATCH", path, policy);
}

const struct command vm_commands[] = {
	{ "vm list", "", "all VMs", 0, 0, vm_list },
	{ "vm show", "VM", "one VM", 1, 1, vm_get },
	{ "vm create", "VM --memory MIB --kernel FILE [OPTION...]",
	  "defines a VM; or --file FILE with the JSON of POST /v1/vms (- is standard input);\n"
	  "      --initrd FILE --cmdline TEXT --vcpus N --page-size 4K|2M|1G\n"
	  "      --nic ID[,mac=MAC][,mtu=N][,queue_pairs=N] --disk ID,FILE[,read_only=yes]\n"
	  "      --restart never|on-failure|always --autostart", 1, -1, vm_create },
	{ "vm set", "VM [restart=POLICY] [autostart=yes|no]", "changes its policies", 2, 3,
	  vm_set },
	{ "vm start", "VM...", "starts them; returns when they run", 1, -1, vm_start },
	{ "vm shutdown", "VM...", "presses their power buttons", 1, -1, vm_shutdown },
	{ "vm stop", "VM...", "takes their power away", 1, -1, vm_stop },
	{ "vm pause", "VM...", "halts them", 1, -1, vm_pause },
	{ "vm resume", "VM...", "lets them go on", 1, -1, vm_resume },
	{ "vm reset", "VM...", "presses their reset buttons", 1, -1, vm_reset },
	{ "vm delete", "VM...", "forgets them; their disks' files stay", 1, -1, vm_delete },
	{ "vm console", "VM", "joins its serial console; Ctrl-] ends it", 1, 1, vm_console },
	{ "vm info", "VM", "what its vmm tells: memory, mappings, exits", 1, 1, vm_info },
	{ "vm counters", "VM", "its devices' counters", 1, 1, vm_counters },
	{ 0 },
};
