/*
 * The configuration of one VM: the JSON of `vmm --config` and vm.configure as checked values.
 * Pure, except for reading the file; any thread.
 */
#ifndef VMM_VM_CONFIG_H
#define VMM_VM_CONFIG_H

#include "vmm/boot.h"
#include "vmm/config_reader.h"

#define VM_MAX_VCPUS 64u
#define VM_MAX_MEMORY_MIB (4u * 1024 * 1024)
#define VM_MAX_NODES 8u
#define VM_MAX_DEVICES 24u /* nics and disks together: one root port each */
#define VM_CONFIG_MAX_SIZE (1u * 1024 * 1024) /* bytes */

struct device_type;

enum console_type { CONSOLE_STDIO, CONSOLE_PTY, CONSOLE_FILE, CONSOLE_SOCKET, CONSOLE_NULL };

struct nic_config {
	struct config_file socket;
	uint8_t mac[6];
	uint16_t mtu; /* bytes */
	unsigned int queue_pairs;
};

struct disk_config {
	struct config_file file;
	bool read_only;
	const char *serial; /* "": the id */
};

/* A NIC or a disk: `type` says in which of the ways it is served. */
struct device_config {
	const struct device_type *type;
	const char *id;
	union {
		struct nic_config nic;
		struct disk_config disk;
	};
};

struct module_config {
	struct config_file file;
	const char *cmdline;
};

struct vm_config {
	json_t *root; /* owned; the strings are borrowed from it */
	const char *id;
	unsigned int vcpus;
	struct {
		uint64_t size;	    /* bytes */
		uint64_t page_size; /* bytes */
		bool prefault;
		unsigned int nodes;
		bool bound;
		unsigned int host_nodes[VM_MAX_NODES]; /* bound: of each node */
	} memory;
	struct {
		struct config_file kernel, initrd;
		const char *cmdline;
		enum boot_protocol protocol;
		struct module_config modules[BOOT_MAX_MODULES];
		unsigned int module_count;
	} boot;
	struct {
		enum console_type type;
		struct config_file file;
	} console;
	struct device_config devices[VM_MAX_DEVICES];
	unsigned int device_count;
	struct config_file control, kvm, exit_record;
	bool debug_exit;
};

/*
 * 0, or a negative errno with one line in `why`. json is borrowed (a reference is kept). The
 * result: vm_config_free.
 */
must_check int vm_config_parse(json_t *json, struct vm_config **config, char *why,
			       size_t why_size);
must_check int vm_config_parse_text(const char *text, size_t len, struct vm_config **config,
				    char *why, size_t why_size);
/* Reads and parses a file. */
must_check int vm_config_load(const struct config_file *file, struct vm_config **config, char *why,
			      size_t why_size);
void vm_config_free(struct vm_config *config); /* NULL is allowed */

#endif
