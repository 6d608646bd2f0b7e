#include "vmm/exit_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/json_text.h"
#include "vmm/sandbox.h"

static const struct {
	const char *name;
	int status;
} reasons[] = {
	[EXIT_SHUTDOWN] = {"shutdown", 0},
	[EXIT_STOP] = {"stop", 0},
	[EXIT_SIGNAL] = {"signal", 0},
	[EXIT_DEBUG] = {"debug-exit", 1},
	[EXIT_CONFIG] = {"config", 2},
	[EXIT_GUEST_FAULT] = {"guest-fault", 3},
	[EXIT_HOST_FAILURE] = {"host-failure", 1},
	[EXIT_RESET_FAILED] = {"reset-failed", 1},
};

const char *exit_reason_name(enum exit_reason reason)
{
	return reasons[reason].name;
}

int exit_reason_status(enum exit_reason reason, uint8_t debug_status)
{
	return reason == EXIT_DEBUG ? debug_status : reasons[reason].status;
}

int exit_record_open(const struct config_file *file)
{
	int fd = config_file_open(file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
	int err;

	if (fd < 0)
		return fd;
	if (ftruncate(fd, 0) < 0) {
		err = errno;
		close(fd);
		return -err;
	}
	return fd;
}

/* A file's name may be in it, which need not be UTF-8, or was cut within a letter. */
static json_t *message_json(const char *message)
{
	char text[sizeof(((struct exit_record *)NULL)->message)];
	json_t *json = json_string(message);

	if (json)
		return json;
	snprintf(text, sizeof(text), "%s", message);
	for (char *c = text; *c; c++)
		if (*c & 0x80)
			*c = '?';
	return json_string(text);
}

int exit_record_write(int fd, const char *id, const struct exit_record *record)
{
	time_t now = time(NULL);
	struct tm utc;
	char when[32], *text;
	json_t *json;
	size_t len;
	ssize_t put;

	if (fd < 0)
		return 0;
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	json = json_pack("{s:s, s:s, s:o, s:i, s:s, s:i}", "id", id, "reason",
			 exit_reason_name(record->reason), "message",
			 message_json(record->message), "status", record->status, "time", when, "pid",
			 (int)sandbox_host_pid());
	text = json ? json_text_dump(json, JSON_COMPACT, NULL) : NULL;
	json_decref(json);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len] = '\n'; /* in the place of the terminator */
	put = pwrite(fd, text, len + 1, 0);
	free(text);
	return put < 0 ? -errno : (size_t)put == len + 1 ? 0 : -EIO;
}
