/*
 * Reads JSON objects of which every key, type and range is stated. A mistake becomes one line: which
 * key, what was found, what is allowed. Pure; any thread.
 */
#ifndef VMM_CONFIG_READER_H
#define VMM_CONFIG_READER_H

#include <jansson.h>

#include "core/bits.h"

/* A value and where it stands. */
struct config_node {
	const json_t *json; /* borrowed; NULL: absent */
	char path[128];    /* "nics[0].mac" */
};

/* Where the line goes; the first mistake stays. */
struct config_why {
	char *text;
	size_t size;
};

/* A file as configurations name it: a path, or "fd:N" for an inherited descriptor. */
struct config_file {
	const char *path; /* NULL: see fd */
	int fd;		  /* -1: see path; both: absent */
};

/* All return 0 or -EINVAL with the line written. Strings are borrowed from the JSON value. */

/* Writes the line about node; always -EINVAL. */
int config_refuse(const struct config_why *why, const struct config_node *node,
		  const char *allowed);

/* node must be an object with no other keys than `keys` (ends with NULL). */
must_check int config_object(const struct config_why *why, const struct config_node *node,
			     const char *const *keys);
must_check int config_array(const struct config_why *why, const struct config_node *node,
			    size_t max, size_t *count);

/* The member `key` of an object, or element i of an array, perhaps absent. */
void config_member(const struct config_node *node, const char *key, struct config_node *member);
void config_element(const struct config_node *node, size_t i, struct config_node *element);

/* Members. Absent: *value stays as it is, unless `required`. */
must_check int config_string(const struct config_why *why, const struct config_node *node,
			     const char *key, bool required, size_t max, const char **value);
must_check int config_uint(const struct config_why *why, const struct config_node *node,
			   const char *key, bool required, uint64_t min, uint64_t max,
			   uint64_t *value);
must_check int config_bool(const struct config_why *why, const struct config_node *node,
			   const char *key, bool *value);
/* One of `names` (ends with NULL): its index. */
must_check int config_choice(const struct config_why *why, const struct config_node *node,
			     const char *key, bool required, const char *const *names,
			     unsigned int *index);
must_check int config_file(const struct config_why *why, const struct config_node *node,
			   const char *key, bool required, struct config_file *file);
/* [a-z0-9-]{1,32} */
must_check int config_id(const struct config_why *why, const struct config_node *node,
			 const char *key, const char **id);

/* Absent, as config_file leaves it. */
#define CONFIG_NO_FILE ((struct config_file){.path = NULL, .fd = -1})

static inline bool config_file_given(const struct config_file *file)
{
	return file->path || file->fd >= 0;
}

/* "fd:N" or a path, from a command line. -EINVAL: neither. */
must_check int config_file_parse(const char *text, struct config_file *file);

/*
 * A descriptor of one's own for the file (an inherited one is duplicated); close-on-exec. -errno
 * as open(2).
 */
must_check int config_file_open(const struct config_file *file, int flags);

#endif
