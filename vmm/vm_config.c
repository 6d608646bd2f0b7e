#include "vmm/vm_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/json_text.h"
#include "core/jsonrpc.h"
#include "vmm/device_types.h"
#include "vmm/numa_place.h"

#define CMDLINE_MAX 4095u /* bytes; the kernel's own limit is checked at boot */

/* Absent: the guest may be anywhere. Otherwise one host node for each of the guest's. */
static int parse_host_nodes(const struct config_why *why, const struct config_node *memory,
			    struct vm_config *config)
{
	struct config_node node, element;
	size_t count;
	int ret;

	config_member(memory, "host_nodes", &node);
	ret = config_array(why, &node, VM_MAX_NODES, &count);
	if (ret < 0 || !node.json)
		return ret;
	if (count != config->memory.nodes)
		return config_refuse(why, &node, "one host node for each of memory.nodes");
	config->memory.bound = true;
	for (size_t i = 0; i < count; i++) {
		json_int_t v;

		config_element(&node, i, &element);
		v = json_integer_value(element.json);
		if (!json_is_integer(element.json) || v < 0 || v >= NUMA_PLACE_MAX_NODES)
			return config_refuse(why, &element, "an integer from 0 to 63");
		config->memory.host_nodes[i] = (unsigned int)v;
	}
	return 0;
}

static int parse_memory(const struct config_why *why, const struct config_node *top,
			struct vm_config *config)
{
	static const char *const keys[] = {"size_mib", "page_size", "prefault", "nodes",
					   "host_nodes", NULL};
	static const char *const sizes[] = {"4K", "2M", "1G", NULL};
	static const uint64_t bytes[] = {4 * KIB, 2 * MIB, GIB};
	uint64_t mib = 0, nodes = 1;
	struct config_node node;
	unsigned int choice = 0;
	int ret;

	config_member(top, "memory", &node);
	if ((ret = config_object(why, &node, keys)) < 0 ||
	    (ret = config_uint(why, &node, "size_mib", true, 1, VM_MAX_MEMORY_MIB, &mib)) < 0 ||
	    (ret = config_choice(why, &node, "page_size", false, sizes, &choice)) < 0 ||
	    (ret = config_bool(why, &node, "prefault", &config->memory.prefault)) < 0 ||
	    (ret = config_uint(why, &node, "nodes", false, 1, VM_MAX_NODES, &nodes)) < 0)
		return ret;
	config->memory.size = mib * MIB;
	config->memory.page_size = bytes[choice];
	config->memory.nodes = (unsigned int)nodes;
	if (config->memory.size % config->memory.page_size) {
		struct config_node size;
		char allowed[64];

		config_member(&node, "size_mib", &size);
		snprintf(allowed, sizeof(allowed), "a multiple of page_size %s", sizes[choice]);
		return config_refuse(why, &size, allowed);
	}
	if (nodes > 1 && config->memory.size / nodes < MAX(32 * MIB, config->memory.page_size)) {
		config_member(&node, "nodes", &node);
		return config_refuse(why, &node, "at least 32 MiB, and one page, a node");
	}
	return parse_host_nodes(why, &node, config);
}

static int parse_modules(const struct config_why *why, const struct config_node *boot,
			 struct vm_config *config)
{
	static const char *const keys[] = {"file", "cmdline", NULL};
	struct config_node node;
	size_t count;
	int ret;

	config_member(boot, "modules", &node);
	ret = config_array(why, &node, BOOT_MAX_MODULES, &count);
	for (size_t i = 0; i < count && !ret; i++) {
		struct module_config *module = &config->boot.modules[i];
		struct config_node element;

		module->file = CONFIG_NO_FILE;
		config_element(&node, i, &element);
		if ((ret = config_object(why, &element, keys)) < 0 ||
		    (ret = config_file(why, &element, "file", true, &module->file)) < 0)
			return ret;
		ret = config_string(why, &element, "cmdline", false, CMDLINE_MAX,
				    &module->cmdline);
		config->boot.module_count++;
	}
	return ret;
}

static int parse_boot(const struct config_why *why, const struct config_node *top,
		      struct vm_config *config)
{
	static const char *const keys[] = {"kernel",   "initrd",  "cmdline",
					   "protocol", "modules", NULL};
	static const char *const protocols[] = {"auto", "linux", "pvh", "multiboot", NULL};
	unsigned int protocol = BOOT_AUTO;
	struct config_node node;
	int ret;

	config->boot.kernel = config->boot.initrd = CONFIG_NO_FILE;
	config->boot.cmdline = "";
	config_member(top, "boot", &node);
	if ((ret = config_object(why, &node, keys)) < 0 ||
	    (ret = config_file(why, &node, "kernel", true, &config->boot.kernel)) < 0 ||
	    (ret = config_file(why, &node, "initrd", false, &config->boot.initrd)) < 0 ||
	    (ret = config_string(why, &node, "cmdline", false, CMDLINE_MAX,
				 &config->boot.cmdline)) < 0 ||
	    (ret = config_choice(why, &node, "protocol", false, protocols, &protocol)) < 0)
		return ret;
	config->boot.protocol = protocol; /* the order of enum boot_protocol */
	return parse_modules(why, &node, config);
}

static int parse_console(const struct config_why *why, const struct config_node *top,
			 struct vm_config *config)
{
	static const char *const keys[] = {"type", "file", NULL};
	static const char *const types[] = {"stdio", "pty", "file", "socket", "null", NULL};
	unsigned int type = CONSOLE_NULL;
	struct config_node node;
	bool needs_file;
	int ret;

	config->console.type = CONSOLE_NULL;
	config->console.file = CONFIG_NO_FILE;
	config_member(top, "console", &node);
	if (!node.json)
		return 0;
	if ((ret = config_object(why, &node, keys)) < 0 ||
	    (ret = config_choice(why, &node, "type", true, types, &type)) < 0)
		return ret;
	config->console.type = type; /* the order of enum console_type */
	needs_file = type == CONSOLE_FILE || type == CONSOLE_SOCKET;
	ret = config_file(why, &node, "file", needs_file, &config->console.file);
	if (ret < 0)
		return ret;
	if (!needs_file && config_file_given(&config->console.file)) {
		config_member(&node, "file", &node);
		return config_refuse(why, &node, "only with type \"file\" or \"socket\"");
	}
	return 0;
}

static int check_unique(const struct config_why *why, const struct vm_config *config,
			const struct config_node *node, const char *id)
{
	struct config_node member;

	for (unsigned int i = 0; i < config->device_count; i++) {
		if (strcmp(config->devices[i].id, id))
			continue;
		config_member(node, "id", &member);
		return config_refuse(why, &member, "an id that no other nic or disk has");
	}
	return 0;
}

static int parse_devices(const struct config_why *why, const struct config_node *top,
			 const char *key, enum device_class class, struct vm_config *config)
{
	struct config_node node;
	size_t count;
	int ret;

	config_member(top, key, &node);
	ret = config_array(why, &node, VM_MAX_DEVICES, &count);
	for (size_t i = 0; i < count && !ret; i++) {
		struct device_config *device = &config->devices[config->device_count];
		struct config_node element;

		if (config->device_count == VM_MAX_DEVICES)
			return config_refuse(why, &node, "at most 24 nics and disks together");
		config_element(&node, i, &element);
		ret = device_config_parse(why, &element, class, device);
		if (!ret)
			ret = check_unique(why, config, &element, device->id);
		config->device_count++;
	}
	return ret;
}

static int parse_top(const struct config_why *why, const struct config_node *top,
		     struct vm_config *config)
{
	static const char *const keys[] = {"id",    "vcpus", "memory",  "boot", "console",
					   "nics",  "disks", "control", "kvm",  "exit_record",
					   "debug_exit", NULL};
	uint64_t vcpus = 1;
	int ret;

	config->control = config->exit_record = CONFIG_NO_FILE;
	config->kvm = (struct config_file){.path = "/dev/kvm", .fd = -1};
	if ((ret = config_object(why, top, keys)) < 0 ||
	    (ret = config_id(why, top, "id", &config->id)) < 0 ||
	    (ret = config_uint(why, top, "vcpus", false, 1, VM_MAX_VCPUS, &vcpus)) < 0 ||
	    (ret = parse_memory(why, top, config)) < 0 ||
	    (ret = parse_boot(why, top, config)) < 0 ||
	    (ret = parse_console(why, top, config)) < 0 ||
	    (ret = parse_devices(why, top, "nics", DEVICE_NIC, config)) < 0 ||
	    (ret = parse_devices(why, top, "disks", DEVICE_DISK, config)) < 0 ||
	    (ret = config_file(why, top, "control", false, &config->control)) < 0 ||
	    (ret = config_file(why, top, "kvm", false, &config->kvm)) < 0 ||
	    (ret = config_file(why, top, "exit_record", false, &config->exit_record)) < 0)
		return ret;
	config->vcpus = (unsigned int)vcpus;
	return config_bool(why, top, "debug_exit", &config->debug_exit);
}

/*
 * A client's words may be in it: they must not become lines or control sequences of a log. Nor may
 * a letter that was cut in two make a string that JSON does not know.
 */
static void make_one_line(char *text)
{
	json_t *valid = json_string(text);

	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f || (!valid && *text & 0x80))
			*text = '?';
	json_decref(valid);
}

int vm_config_parse(json_t *json, struct vm_config **out, char *why_text, size_t why_size)
{
	const struct config_why why = {.text = why_text, .size = why_size};
	const struct config_node top = {.json = json};
	struct vm_config *config = calloc(1, sizeof(*config));
	int ret;

	if (!config) {
		snprintf(why_text, why_size, "out of memory");
		return -ENOMEM;
	}
	config->root = json_incref(json);
	ret = parse_top(&why, &top, config);
	if (ret < 0) {
		make_one_line(why_text);
		vm_config_free(config);
		return ret;
	}
	*out = config;
	return 0;
}

int vm_config_parse_text(const char *text, size_t len, struct vm_config **config, char *why,
			 size_t why_size)
{
	json_error_t error;
	json_t *json;
	int ret;

	if (!jsonrpc_depth_within(text, len, JSONRPC_MAX_DEPTH)) {
		snprintf(why, why_size, "found objects and arrays nested deeper than %u",
			 JSONRPC_MAX_DEPTH);
		return -EINVAL;
	}
	ret = json_text_load(text, len, JSON_REJECT_DUPLICATES, &json, &error);
	if (ret < 0) {
		snprintf(why, why_size, "line %d, column %d: %s", error.line, error.column,
			 error.text);
		make_one_line(why);
		return ret;
	}
	ret = vm_config_parse(json, config, why, why_size);
	json_decref(json);
	return ret;
}

/* Reads to the end, or one byte past the limit. */
static ssize_t read_text(int fd, char *text)
{
	size_t len = 0;

	while (len <= VM_CONFIG_MAX_SIZE) {
		ssize_t got = read(fd, text + len, VM_CONFIG_MAX_SIZE + 1 - len);

		if (got < 0)
			return -errno;
		if (!got)
			break;
		len += (size_t)got;
	}
	return (ssize_t)len;
}

int vm_config_load(const struct config_file *file, struct vm_config **config, char *why,
		   size_t why_size)
{
	int fd = config_file_open(file, O_RDONLY);
	ssize_t len;
	char *text;
	int ret;

	if (fd < 0) {
		snprintf(why, why_size, "cannot open it: %s", strerror(-fd));
		return fd;
	}
	text = malloc(VM_CONFIG_MAX_SIZE + 1);
	len = text ? read_text(fd, text) : -ENOMEM;
	close(fd);
	if (len < 0) {
		snprintf(why, why_size, "cannot read it: %s", strerror((int)-len));
		ret = (int)len;
	} else if (len > (ssize_t)VM_CONFIG_MAX_SIZE) {
		snprintf(why, why_size, "found more than %u bytes; allowed: at most that",
			 VM_CONFIG_MAX_SIZE);
		ret = -EFBIG;
	} else {
		ret = vm_config_parse_text(text, (size_t)len, config, why, why_size);
	}
	free(text);
	return ret;
}

void vm_config_free(struct vm_config *config)
{
	if (!config)
		return;
	json_decref(config->root);
	free(config);
}
