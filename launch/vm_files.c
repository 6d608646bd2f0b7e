#include "launch/vm_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json_text.h"
#include "launch/devices.h"

/* One opening of a configuration. */
struct opening {
	const struct launch *launch;
	struct vm_files *files;
	struct launch_error *error;
	int dir;
	uid_t uid;
	json_t *config; /* our copy */
};

/* Takes fd over, for the vmm to have. key: in whose name. */
static int keep_fd(struct opening *o, const char *key, int fd)
{
	struct vm_files *files = o->files;

	if (fd < 0)
		return fd;
	if (files->count == SPAWN_MAX_FDS) {
		close(fd);
		return launch_refuse(o->error, RPC_INVALID_PARAMS, key,
				     "more than %d files in a configuration", SPAWN_MAX_FDS - 1);
	}
	files->fds[files->count++] = fd;
	return 0;
}

/* Takes fd over and names it in object[key]. */
static int put_fd(struct opening *o, json_t *object, const char *key, int fd)
{
	unsigned int number = SPAWN_FIRST_FD + o->files->count;
	int err = keep_fd(o, key, fd);

	if (!err && json_object_set_new(object, key, json_sprintf("fd:%u", number)) < 0)
		err = launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "out of memory");
	return err;
}

/* object[key], if it is there, is a path: opens it. */
static int open_member(struct opening *o, json_t *object, const char *key, enum image_use use,
		       const char *field)
{
	const json_t *member = json_object_get(object, key);

	if (!member)
		return 0; /* whether it may be missing is the vmm's to say */
	if (!json_is_string(member))
		return launch_refuse(o->error, RPC_INVALID_PARAMS, field, "a path is needed");
	return put_fd(o, object, key,
		      devices_open_image(&o->launch->options, json_string_value(member), use, field,
					 o->error));
}

static int open_boot(struct opening *o)
{
	json_t *boot = json_object_get(o->config, "boot");
	json_t *module;
	size_t i;
	int err;

	err = open_member(o, boot, "kernel", IMAGE_BOOT, "boot.kernel");
	if (!err)
		err = open_member(o, boot, "initrd", IMAGE_BOOT, "boot.initrd");
	json_array_foreach(json_object_get(boot, "modules"), i, module) {
		char field[64];

		snprintf(field, sizeof(field), "boot.modules.%zu.file", i);
		if (!err)
			err = open_member(o, module, "file", IMAGE_BOOT, field);
	}
	return err;
}

/* A block device does not grow. */
static void note_size(struct vm_files *files, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		files->largest = MAX(files->largest, (uint64_t)st.st_size);
}

static int open_disk(struct opening *o, json_t *disk, const char *field)
{
	bool read_only = json_is_true(json_object_get(disk, "read_only"));
	enum image_use use = read_only ? IMAGE_READ_ONLY : IMAGE_WRITE;
	const char *path = json_string_value(json_object_get(disk, "file"));
	char *name = path ? strdup(path) : NULL; /* its number takes its place */
	int err, fd;

	if (path && !name)
		return launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "out of memory");
	err = open_member(o, disk, "file", use, field);
	if (!err && name) {
		fd = o->files->fds[o->files->count - 1];
		if (!read_only)
			note_size(o->files, fd);
		err = keep_fd(o, field, devices_lock_disk(fd, name, use, field, o->error));
	}
	free(name);
	return err;
}

static int open_disks(struct opening *o)
{
	json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(o->config, "disks"), i, disk) {
		char field[64];
		int err;

		snprintf(field, sizeof(field), "disks.%zu.file", i);
		err = open_disk(o, disk, field);
		if (err)
			return err;
	}
	return 0;
}

/* The port of PATH = RUN/ports/PORT/sock; false: another kind of path. */
static bool port_of(const struct opening *o, const char *path, char *port, size_t size)
{
	const char *run = o->launch->options.run_dir;
	size_t len = strlen(run);
	const char *end;

	if (strncmp(path, run, len) || strncmp(path + len, "/ports/", 7))
		return false;
	path += len + 7;
	end = strchr(path, '/');
	if (!end || strcmp(end, "/sock") || (size_t)(end - path) >= size)
		return false;
	memcpy(port, path, (size_t)(end - path));
	port[end - path] = '\0';
	return dirs_port_id_ok(port);
}

/*
 * A NIC's socket is reached by the vmm itself, also when the switch has made it anew: it is shown
 * the directory, at the same path, and no other port's.
 */
static int show_port(struct opening *o, const char *path, const char *field)
{
	char port[80], why[256], shown[PATH_MAX];
	int dir, err;

	if (!port_of(o, path, port, sizeof(port)))
		return launch_refuse(o->error, RPC_INVALID_PARAMS, field,
				     "%s: %s/ports/PORT/sock is needed", path,
				     o->launch->options.run_dir);
	dir = dirs_open_port(&o->launch->dirs, port, o->uid);
	if (dir < 0)
		return launch_refuse(o->error, dir == -EPERM ? RPC_REFUSED : RPC_INVALID_PARAMS,
				     field, "port %s: %s", port,
				     dir == -EPERM ? "it is another VM's" : strerror(-dir));
	snprintf(shown, sizeof(shown), "%s/ports/%s", o->launch->options.run_dir, port);
	err = namespaces_show(&o->files->namespaces, dir, shown, why, sizeof(why));
	close(dir);
	return err ? launch_refuse(o->error, RPC_HOST_FAILURE, field, "%s", why) : 0;
}

static int show_ports(struct opening *o)
{
	const json_t *nic;
	size_t i;

	json_array_foreach(json_object_get(o->config, "nics"), i, nic) {
		const char *socket = json_string_value(json_object_get(nic, "socket"));
		char field[64];

		snprintf(field, sizeof(field), "nics.%zu.socket", i);
		/* Whether it may be missing is the vmm's to say. */
		if (socket && show_port(o, socket, field) < 0)
			return -EINVAL;
	}
	return 0;
}

static int make_root(struct opening *o)
{
	char why[256];

	if (namespaces_init(&o->files->namespaces, why, sizeof(why)) < 0)
		return launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "%s", why);
	if (show_ports(o) < 0)
		return -EINVAL;
	if (namespaces_seal(&o->files->namespaces, why, sizeof(why)) < 0)
		return launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "%s", why);
	return 0;
}

static int listen_as(struct opening *o, json_t *object, const char *key, const char *name)
{
	struct launch_error *e = o->error;
	char why[256];
	int fd = dirs_listen(&o->launch->dirs, o->dir, name, why, sizeof(why));

	if (fd < 0)
		return launch_refuse(e, RPC_HOST_FAILURE, NULL, "%s", why);
	return put_fd(o, object, key, fd);
}

/* "socket", which is also what a VM without a word about it gets, is bound here. */
static int open_console(struct opening *o)
{
	json_t *console = json_object_get(o->config, "console");
	const char *type = json_string_value(json_object_get(console, "type"));

	if (type && strcmp(type, "socket"))
		return 0;
	if (!console) {
		console = json_pack("{s:s}", "type", "socket");
		if (json_object_set_new(o->config, "console", console) < 0)
			return launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "out of memory");
	}
	return listen_as(o, console, "file", "console.sock");
}

static int open_record(struct opening *o)
{
	char why[256];
	int fd = dirs_create_file(&o->launch->dirs, o->dir, "exit.json", why, sizeof(why));

	if (fd < 0)
		return launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "%s", why);
	return put_fd(o, o->config, "exit_record", fd);
}

static int write_config(struct opening *o)
{
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	char *text = json_text_dump(o->config, JSON_COMPACT, NULL);
	size_t len = text ? strlen(text) : 0;
	int fd = o->files->fds[0];
	bool ok = text && write(fd, text, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0 &&
		  fcntl(fd, F_ADD_SEALS, seals) == 0;

	free(text);
	return ok ? 0 : launch_refuse(o->error, RPC_HOST_FAILURE, NULL, "configuration: %s",
				      strerror(errno));
}

int vm_files_open(const struct launch *launch, int dir, const char *id, uid_t uid,
		  const json_t *config, struct vm_files *files, struct launch_error *error)
{
	struct opening o = {
		.launch = launch,
		.files = files,
		.error = error,
		.dir = dir,
		.uid = uid,
		.config = json_deep_copy(config),
	};
	int err;

	if (!o.config || json_object_set_new(o.config, "id", json_string(id)) < 0) {
		json_decref(o.config);
		return launch_refuse(error, RPC_HOST_FAILURE, NULL, "out of memory");
	}
	files->fds[0] = memfd_create("vm-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	files->count = files->fds[0] >= 0;
	err = files->count ? open_boot(&o) :
			     launch_refuse(error, RPC_HOST_FAILURE, NULL, "memfd: %s",
					   strerror(errno));
	if (!err)
		err = open_disks(&o);
	if (!err)
		err = make_root(&o);
	if (!err)
		err = put_fd(&o, o.config, "kvm", devices_open_kvm(error));
	if (!err)
		err = listen_as(&o, o.config, "control", "control.sock");
	if (!err)
		err = open_console(&o);
	if (!err)
		err = open_record(&o);
	if (!err)
		err = write_config(&o);
	json_decref(o.config);
	return err;
}

void vm_files_close(struct vm_files *files)
{
	while (files->count)
		close(files->fds[--files->count]);
	namespaces_fini(&files->namespaces);
}
