/* The command line, and what it makes of the EAL's. Pure; needs no EAL. */
#ifndef VSWITCH_OPTIONS_H
#define VSWITCH_OPTIONS_H

#include <sched.h>
#include <sys/types.h>

#include "core/bits.h"
#include "core/log.h"

#define OPTIONS_MAX_EAL_ARGS 64
#define OPTIONS_MAX_LCORES 64u
#define OPTIONS_MAX_UPLINKS 16u
#define OPTIONS_ID_MAX 32u /* characters, as PORT_ID_MAX */

struct options {
	const char *control;
	uid_t control_uid; /* (uid_t)-1: not given */
	uint16_t cpus[OPTIONS_MAX_LCORES]; /* one a forwarding lcore */
	unsigned int cpu_count; /* 0: one lcore on any CPU */
	uint32_t fdb_size;
	uint32_t fdb_age;
	uint32_t mbufs;
	bool huge_pages;
	enum log_level log_level;
	struct options_uplink {
		char id[OPTIONS_ID_MAX + 1];
		const char *devargs; /* borrowed from argv */
	} uplinks[OPTIONS_MAX_UPLINKS];
	unsigned int uplink_count;
	/* Behind "--"; borrowed from argv. */
	char *const *eal_args;
	int eal_arg_count;
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_ERROR };

/* OPTIONS_ERROR: one line in why. */
enum options_result options_parse(int argc, char **argv, struct options *options, char *why,
				  size_t why_size);

const char *options_help(void);

/*
 * "1,3-5" to CPU numbers, each allowed in `allowed`. 0 or -EINVAL with a line in why.
 */
must_check int options_parse_cpus(const char *text, const cpu_set_t *allowed,
				  struct options *options, char *why, size_t why_size);

/* The EAL's argument vector; argv[0] included, NULL at its end. */
struct options_eal {
	int argc;
	char *argv[OPTIONS_MAX_EAL_ARGS + 1];
	char lcores[2048];
	char memory[16];
};

/*
 * Arguments given behind "--" come last and win; those that contradict a default switch it off.
 * 0 or -E2BIG.
 */
must_check int options_make_eal(const struct options *options, const cpu_set_t *allowed,
				struct options_eal *eal);

#endif
