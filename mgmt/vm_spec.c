#include "mgmt/vm_spec.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "core/json_text.h"
#include "core/jsonrpc.h"

#define MAX_VCPUS 64
#define MAX_MEMORY_MIB (4 * 1024 * 1024)
#define MAX_NODES 8
#define MAX_MODULES 32
#define MAX_CMDLINE 4095
#define MAX_SERIAL 20 /* virtio 1.2 §5.2.6.1: VIRTIO_BLK_ID_BYTES */
#define MIN_MTU 1280
#define MAX_MTU 9216
#define MAX_QUEUE_PAIRS 8

static const char *const restart_choices[] = { "never", "on-failure", "always", NULL };

int body_parse(const char *text, size_t len, json_t **out, struct problem *problem)
{
	json_error_t error;
	int err;

	if (len > BODY_MAX_SIZE) {
		problem_set(problem, 413, NULL, "the body may have %u bytes at most",
			    BODY_MAX_SIZE);
		return -EINVAL;
	}
	if (!jsonrpc_depth_within(text, len, BODY_MAX_DEPTH)) {
		problem_set(problem, 400, NULL, "the body may nest %u deep at most",
			    BODY_MAX_DEPTH);
		return -EINVAL;
	}
	err = json_text_load(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, out, &error);
	if (err == -ENOMEM) {
		problem_set(problem, 503, NULL, "out of memory");
		return err;
	}
	if (err) {
		problem_set(problem, 400, NULL, "the body is not JSON: line %d, column %d: %s",
			    error.line, error.column, error.text);
		return -EINVAL;
	}
	return 0;
}

static int memory_check(const json_t *in, const char *path, json_t **out, struct problem *problem)
{
	static const char *const sizes[] = { "4K", "2M", "1G", NULL };
	const char *page_size;
	struct spec spec;
	json_int_t mib;

	spec_begin(&spec, in, path, problem);
	spec_uint(&spec, "size_mib", SPEC_REQUIRED, 1, MAX_MEMORY_MIB, 0);
	spec_choice(&spec, "page_size", SPEC_OPTIONAL, sizes);
	spec_bool(&spec, "prefault", false);
	spec_uint(&spec, "nodes", SPEC_OPTIONAL, 1, MAX_NODES, 1);
	if (!spec.failed) {
		page_size = json_string_value(json_object_get(spec.out, "page_size"));
		mib = json_integer_value(json_object_get(spec.out, "size_mib"));
		if ((!strcmp(page_size, "2M") && mib % 2) ||
		    (!strcmp(page_size, "1G") && mib % 1024))
			spec_refuse(&spec, "size_mib", "a multiple of page_size");
	}
	return spec_end(&spec, out);
}

static int module_check(const json_t *in, const char *path, json_t **out, struct problem *problem)
{
	struct spec spec;

	spec_begin(&spec, in, path, problem);
	spec_path(&spec, "file", SPEC_REQUIRED);
	spec_text(&spec, "cmdline", SPEC_OPTIONAL, 0, MAX_CMDLINE, NULL);
	return spec_end(&spec, out);
}

static int boot_check(const json_t *in, const char *path, json_t **out, struct problem *problem)
{
	static const char *const protocols[] = { "auto", "linux", "pvh", "multiboot", NULL };
	struct spec spec;

	spec_begin(&spec, in, path, problem);
	spec_path(&spec, "kernel", SPEC_REQUIRED);
	spec_path(&spec, "initrd", SPEC_OPTIONAL);
	spec_text(&spec, "cmdline", SPEC_OPTIONAL, 0, MAX_CMDLINE, "");
	spec_choice(&spec, "protocol", SPEC_OPTIONAL, protocols);
	spec_array(&spec, "modules", MAX_MODULES, module_check);
	return spec_end(&spec, out);
}

/* Lower case; unicast and not zero: what a NIC may call its own. */
static bool mac_parse(const char *text, char mac[18])
{
	unsigned int bytes[6];
	int used = 0;

	if (!text || strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
		   &bytes[4], &bytes[5], &used) != 6 || used != 17)
		return false;
	for (int i = 0; i < 17; i++)
		mac[i] = (char)tolower((unsigned char)text[i]);
	mac[17] = '\0';
	/* sscanf would also take signs and blanks. */
	return strspn(mac, "0123456789abcdef:") == 17 && !(bytes[0] & 1) &&
	       strcmp(mac, "00:00:00:00:00:00") != 0;
}

static void mac_choose(char mac[18])
{
	uint8_t bytes[3] = { 0 };

	if (getrandom(bytes, sizeof(bytes), 0) < 0)
		bytes[0] = 1;
	snprintf(mac, 18, "52:54:00:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2]);
}

static void mac_check(struct spec *spec)
{
	const json_t *value = json_object_get(spec->in, "mac");
	char mac[18];

	spec_text(spec, "mac", SPEC_OPTIONAL, 17, 17, NULL);
	if (spec->failed)
		return;
	if (!value)
		mac_choose(mac);
	else if (!mac_parse(json_string_value(value), mac))
		spec_refuse(spec, "mac",
			    "a unicast address as in \"52:54:00:12:34:56\", not zero");
	if (!spec->failed)
		json_object_set_new(spec->out, "mac", json_string(mac));
}

int nic_spec_check(const json_t *body, const char *path, json_t **out, struct problem *problem)
{
	static const char *const modes[] = { "vhost-user", NULL };
	struct spec spec;

	spec_begin(&spec, body, path, problem);
	spec_id(&spec, "id");
	spec_choice(&spec, "mode", SPEC_OPTIONAL, modes);
	mac_check(&spec);
	spec_uint(&spec, "mtu", SPEC_OPTIONAL, MIN_MTU, MAX_MTU, 1500);
	spec_uint(&spec, "queue_pairs", SPEC_OPTIONAL, 1, MAX_QUEUE_PAIRS, 1);
	return spec_end(&spec, out);
}

int disk_spec_check(const json_t *body, const char *path, json_t **out, struct problem *problem)
{
	static const char *const modes[] = { "virtio-blk", NULL };
	struct spec spec;

	spec_begin(&spec, body, path, problem);
	spec_id(&spec, "id");
	spec_choice(&spec, "mode", SPEC_OPTIONAL, modes);
	spec_path(&spec, "file", SPEC_REQUIRED);
	spec_bool(&spec, "read_only", false);
	spec_text(&spec, "serial", SPEC_OPTIONAL, 1, MAX_SERIAL, NULL);
	return spec_end(&spec, out);
}

json_t *spec_find_device(const json_t *vm_spec, const char *key, const char *id, size_t *index)
{
	json_t *devices = json_object_get(vm_spec, key), *device;
	size_t i;

	json_array_foreach(devices, i, device) {
		const char *other = json_string_value(json_object_get(device, "id"));

		if (other && !strcmp(other, id)) {
			if (index)
				*index = i;
			return device;
		}
	}
	return NULL;
}

static bool mac_is_taken(const json_t *vm_spec, const char *mac)
{
	json_t *nic;
	size_t i;

	json_array_foreach(json_object_get(vm_spec, "nics"), i, nic) {
		if (!strcmp(json_string_value(json_object_get(nic, "mac")), mac))
			return true;
	}
	return false;
}

int device_spec_fits(const json_t *vm_spec, const json_t *device, struct problem *problem)
{
	const char *id = json_string_value(json_object_get(device, "id"));
	const char *mac = json_string_value(json_object_get(device, "mac"));

	if (spec_find_device(vm_spec, "nics", id, NULL) ||
	    spec_find_device(vm_spec, "disks", id, NULL)) {
		problem_set(problem, 409, "id", "the VM has a device \"%s\" already", id);
		return -EEXIST;
	}
	if (mac && mac_is_taken(vm_spec, mac)) {
		problem_set(problem, 409, "mac", "the VM has a NIC with address %s already", mac);
		return -EEXIST;
	}
	if (json_array_size(json_object_get(vm_spec, "nics")) +
		    json_array_size(json_object_get(vm_spec, "disks")) >= VM_MAX_DEVICES) {
		problem_set(problem, 422, NULL, "a VM has %u NICs and disks at most",
			    VM_MAX_DEVICES);
		return -ENOSPC;
	}
	return 0;
}

/* Puts the devices of `from` into `to` one by one, so that each meets those before it. */
static int vm_spec_join(json_t *to, const json_t *from, const char *key, struct problem *problem)
{
	json_t *device;
	size_t i;
	int err;

	json_array_foreach(json_object_get(from, key), i, device) {
		err = device_spec_fits(to, device, problem);
		if (err) {
			char field[32];

			snprintf(field, sizeof(field), "%s[%zu]%s%.8s", key, i,
				 problem->field[0] ? "." : "", problem->field);
			snprintf(problem->field, sizeof(problem->field), "%s", field);
			problem->status = 422; /* the body contradicts itself */
			return err;
		}
		json_array_append(json_object_get(to, key), device);
	}
	return 0;
}

static int vm_spec_check_devices(const json_t *vm_spec, struct problem *problem)
{
	json_t *joined = json_pack("{s:[], s:[]}", "nics", "disks");
	int err;

	if (!joined) {
		problem_set(problem, 503, NULL, "out of memory");
		return -ENOMEM;
	}
	err = vm_spec_join(joined, vm_spec, "nics", problem);
	if (!err)
		err = vm_spec_join(joined, vm_spec, "disks", problem);
	json_decref(joined);
	return err;
}

int vm_spec_check(const json_t *body, json_t **out, struct problem *problem)
{
	struct spec spec;
	int err;

	spec_begin(&spec, body, "", problem);
	spec_id(&spec, "id");
	spec_uint(&spec, "vcpus", SPEC_OPTIONAL, 1, MAX_VCPUS, 1);
	spec_object(&spec, "memory", SPEC_REQUIRED, memory_check);
	spec_object(&spec, "boot", SPEC_REQUIRED, boot_check);
	spec_array(&spec, "nics", VM_MAX_DEVICES, nic_spec_check);
	spec_array(&spec, "disks", VM_MAX_DEVICES, disk_spec_check);
	spec_bool(&spec, "debug_exit", false);
	spec_choice(&spec, "restart", SPEC_OPTIONAL, restart_choices);
	spec_bool(&spec, "autostart", false);
	err = spec_end(&spec, out);
	if (!err) {
		err = vm_spec_check_devices(*out, problem);
		if (err)
			json_decref(*out);
	}
	return err ? -EINVAL : 0;
}

int port_spec_check(const json_t *body, json_t **out, struct problem *problem)
{
	static const char *const types[] = { "ethdev", NULL };
	struct spec spec;

	spec_begin(&spec, body, "", problem);
	spec_id(&spec, "id");
	spec_choice(&spec, "type", SPEC_REQUIRED, types);
	spec_text(&spec, "devargs", SPEC_REQUIRED, 1, 255, NULL);
	return spec_end(&spec, out);
}

int vm_policy_check(const json_t *body, json_t **out, struct problem *problem)
{
	struct spec spec;
	json_t *checked;
	const char *key;
	json_t *value;
	int err;

	spec_begin(&spec, body, "", problem);
	spec_choice(&spec, "restart", SPEC_OPTIONAL, restart_choices);
	spec_bool(&spec, "autostart", false);
	err = spec_end(&spec, &checked);
	if (err)
		return err;
	if (!json_object_size(body)) {
		json_decref(checked);
		problem_set(problem, 422, NULL, "nothing to change: give restart or autostart");
		return -EINVAL;
	}
	*out = json_object();
	json_object_foreach(checked, key, value) {
		if (json_object_get(body, key))
			json_object_set(*out, key, value);
	}
	json_decref(checked);
	return 0;
}

int stop_guests_check(const json_t *body, json_t **out, struct problem *problem)
{
	struct spec spec;

	spec_begin(&spec, body, "", problem);
	spec_uint(&spec, "grace_seconds", SPEC_OPTIONAL, 0, 3600, 10);
	return spec_end(&spec, out);
}
