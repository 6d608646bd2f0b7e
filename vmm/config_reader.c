#include "vmm/config_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_text.h"

#define ID_MAX 32u

int config_refuse(const struct config_why *why, const struct config_node *node,
		  const char *allowed)
{
	char *found = node->json ? json_text_dump(node->json, JSON_COMPACT | JSON_ENCODE_ANY, NULL) :
				   NULL;

	snprintf(why->text, why->size, "%s: found %.60s%s; allowed: %s",
		 node->path[0] ? node->path : "(configuration)",
		 !node->json ? "nothing" : found ? found : "?",
		 found && strlen(found) > 60 ? "..." : "", allowed);
	free(found);
	return -EINVAL;
}

static int refuse_key(const struct config_why *why, const struct config_node *node,
		      const char *key, const char *const *keys)
{
	char allowed[256] = "";
	size_t len = 0;

	for (; *keys && len < sizeof(allowed); keys++)
		len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s%s",
					len ? ", " : "", *keys);
	snprintf(why->text, why->size, "%s%s%.60s: unknown key; allowed: %s", node->path,
		 node->path[0] ? "." : "", key, allowed);
	return -EINVAL;
}

int config_object(const struct config_why *why, const struct config_node *node,
		  const char *const *keys)
{
	const char *key;
	json_t *value;

	if (!json_is_object(node->json))
		return config_refuse(why, node, "an object");
	json_object_foreach((json_t *)node->json, key, value) {
		const char *const *k = keys;

		while (*k && strcmp(*k, key))
			k++;
		if (!*k)
			return refuse_key(why, node, key, keys);
	}
	return 0;
}

int config_array(const struct config_why *why, const struct config_node *node, size_t max,
		 size_t *count)
{
	char allowed[64];

	*count = json_array_size(node->json);
	if (!node->json || (json_is_array(node->json) && *count <= max))
		return 0;
	snprintf(allowed, sizeof(allowed), "an array of at most %zu", max);
	return config_refuse(why, node, allowed);
}

void config_member(const struct config_node *node, const char *key, struct config_node *member)
{
	struct config_node m = {.json = json_object_get(node->json, key)};

	snprintf(m.path, sizeof(m.path), "%.80s%s%.40s", node->path, node->path[0] ? "." : "",
		 key);
	*member = m;
}

void config_element(const struct config_node *node, size_t i, struct config_node *element)
{
	struct config_node e = {.json = json_array_get(node->json, i)};

	snprintf(e.path, sizeof(e.path), "%.96s[%zu]", node->path, i);
	*element = e;
}

int config_string(const struct config_why *why, const struct config_node *node, const char *key,
		  bool required, size_t max, const char **value)
{
	struct config_node member;
	char allowed[64];

	config_member(node, key, &member);
	if (!member.json && !required)
		return 0;
	if (json_is_string(member.json) && json_string_length(member.json) <= max) {
		*value = json_string_value(member.json);
		return 0;
	}
	snprintf(allowed, sizeof(allowed), "a string of at most %zu bytes", max);
	return config_refuse(why, &member, allowed);
}

int config_uint(const struct config_why *why, const struct config_node *node, const char *key,
		bool required, uint64_t min, uint64_t max, uint64_t *value)
{
	struct config_node member;
	char allowed[80];
	json_int_t v;

	config_member(node, key, &member);
	if (!member.json && !required)
		return 0;
	v = json_integer_value(member.json);
	if (json_is_integer(member.json) && v >= 0 && (uint64_t)v >= min && (uint64_t)v <= max) {
		*value = (uint64_t)v;
		return 0;
	}
	snprintf(allowed, sizeof(allowed), "an integer from %llu to %llu", (unsigned long long)min,
		 (unsigned long long)max);
	return config_refuse(why, &member, allowed);
}

int config_bool(const struct config_why *why, const struct config_node *node, const char *key,
		bool *value)
{
	struct config_node member;

	config_member(node, key, &member);
	if (!member.json)
		return 0;
	if (!json_is_boolean(member.json))
		return config_refuse(why, &member, "true, false");
	*value = json_is_true(member.json);
	return 0;
}

int config_choice(const struct config_why *why, const struct config_node *node, const char *key,
		  bool required, const char *const *names, unsigned int *index)
{
	struct config_node member;
	char allowed[128] = "";
	size_t len = 0;

	config_member(node, key, &member);
	if (!member.json && !required)
		return 0;
	for (unsigned int i = 0; names[i]; i++) {
		if (json_is_string(member.json) &&
		    !strcmp(json_string_value(member.json), names[i])) {
			*index = i;
			return 0;
		}
		if (len < sizeof(allowed))
			len += (size_t)snprintf(allowed + len, sizeof(allowed) - len, "%s\"%s\"",
						i ? ", " : "", names[i]);
	}
	return config_refuse(why, &member, allowed);
}

int config_file_parse(const char *text, struct config_file *file)
{
	unsigned long fd;
	char *end;

	*file = CONFIG_NO_FILE;
	if (strncmp(text, "fd:", 3)) {
		file->path = text;
		return *text ? 0 : -EINVAL;
	}
	if (text[3] < '0' || text[3] > '9')
		return -EINVAL;
	errno = 0;
	fd = strtoul(text + 3, &end, 10);
	if (errno || *end || fd > 1000000)
		return -EINVAL;
	file->fd = (int)fd;
	return 0;
}

int config_file(const struct config_why *why, const struct config_node *node, const char *key,
		bool required, struct config_file *file)
{
	struct config_node member;

	config_member(node, key, &member);
	if (!member.json && !required)
		return 0;
	if (json_is_string(member.json) && json_string_length(member.json) <= 4095 &&
	    !config_file_parse(json_string_value(member.json), file))
		return 0;
	return config_refuse(why, &member, "a path, or \"fd:N\" of an inherited descriptor");
}

int config_id(const struct config_why *why, const struct config_node *node, const char *key,
	      const char **id)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	struct config_node member;
	const char *text;
	size_t len;

	config_member(node, key, &member);
	text = json_string_value(member.json);
	len = text ? strlen(text) : 0;
	if (!len || len > ID_MAX || strspn(text, letters) != len)
		return config_refuse(why, &member, "1 to 32 of a-z, 0-9 and -");
	*id = text;
	return 0;
}

int config_file_open(const struct config_file *file, int flags)
{
	int fd;

	if (file->path)
		fd = open(file->path, flags | O_CLOEXEC, 0600);
	else
		fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}
