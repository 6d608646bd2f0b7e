#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json_text.h"
#include "core/jsonrpc.h"
#include "core/log.h"
#include "mgmt/vm_private.h"

#define RECORD_MAX 8192u
#define LOG_TAIL 1024u

/*
 * Reads at most size - 1 bytes of a file of the VM, from the end when it is longer. The vmm wrote
 * it: a plain file and nothing else is read, and what it says is not believed, only shown.
 */
static ssize_t read_tail(const struct vm *vm, const char *file, char *text, size_t size)
{
	char path[MGMT_PATH_SIZE];
	struct stat st;
	ssize_t n = -1;
	int fd;

	vm_run_path(vm, file, path);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = pread(fd, text, size - 1,
			  st.st_size > (off_t)(size - 1) ? st.st_size - (off_t)(size - 1) : 0);
	close(fd);
	if (n < 0)
		return -EIO;
	text[n] = '\0';
	return n;
}

static json_t *read_record(const struct vm *vm)
{
	char text[RECORD_MAX];
	ssize_t n = read_tail(vm, "exit.json", text, sizeof(text));
	json_error_t error;
	json_t *record;
	json_int_t pid;

	if (n <= 0 || !jsonrpc_depth_within(text, (size_t)n, 4))
		return NULL;
	if (json_text_load(text, (size_t)n, JSON_REJECT_DUPLICATES, &record, &error) < 0)
		return NULL;
	pid = json_integer_value(json_object_get(record, "pid"));
	/* pid 0: we do not know whose it should be. */
	if (json_is_string(json_object_get(record, "reason")) &&
	    (!vm->pid || !pid || pid == vm->pid))
		return record;
	json_decref(record);
	return NULL;
}

/* Only what the schema knows. */
static json_t *exit_from_record(json_t *record)
{
	json_t *exit = json_object();
	static const struct {
		const char *key;
		json_type type;
	} members[] = {
		{ "reason", JSON_STRING }, { "message", JSON_STRING }, { "status", JSON_INTEGER },
		{ "time", JSON_STRING },   { "pid", JSON_INTEGER },
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		json_t *value = json_object_get(record, members[i].key);

		if (value && json_typeof(value) == members[i].type)
			json_object_set(exit, members[i].key, value);
	}
	if (!json_object_get(exit, "message"))
		json_object_set_new(exit, "message", json_string(""));
	return exit;
}

static json_t *exit_without_record(const struct vm *vm, const struct child_exit *how)
{
	char now[TIME_TEXT_SIZE], message[96];
	const char *reason = "lost";

	time_text(now);
	if (how && how->known && how->signal == SIGSYS) {
		reason = "killed";
		snprintf(message, sizeof(message),
			 "killed by its system call filter (SIGSYS); dmesg/audit has the number");
	} else if (how && how->known && how->signal) {
		reason = "killed";
		snprintf(message, sizeof(message), "its process was ended by signal %d (%s)",
			 how->signal, strsignal(how->signal));
	} else if (how && how->known) {
		reason = "exited";
		snprintf(message, sizeof(message), "its process exited with status %d",
			 how->status);
	} else {
		snprintf(message, sizeof(message), "its process is gone and left no record");
	}
	return json_pack("{s:s, s:s, s:s, s:i}", "reason", reason, "message", message, "time", now,
			 "pid", (int)vm->pid);
}

static void add_log_tail(const struct vm *vm, json_t *exit)
{
	char text[LOG_TAIL];
	ssize_t n = read_tail(vm, "log", text, sizeof(text));
	const char *line = text;

	if (n <= 0)
		return;
	for (ssize_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] >= 0x7f || ((unsigned char)text[i] < 0x20 &&
						       text[i] != '\n'))
			text[i] = '?';
	}
	/* Cut off at the front: begin with a whole line. */
	if (n == (ssize_t)sizeof(text) - 1 && strchr(text, '\n'))
		line = strchr(text, '\n') + 1;
	json_object_set_new(exit, "log", json_string(line));
}

bool vm_exit_recorded(const struct vm *vm)
{
	json_t *record = read_record(vm);

	json_decref(record);
	return record;
}

json_t *vm_exit_read(const struct vm *vm, const struct child_exit *how)
{
	json_t *record = read_record(vm);
	json_t *exit;

	exit = record ? exit_from_record(record) : exit_without_record(vm, how);
	json_decref(record);
	if (exit)
		add_log_tail(vm, exit);
	return exit;
}
