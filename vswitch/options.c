#include "vswitch/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_FDB_SIZE 65536u
#define OPTIONS_FDB_AGE 300u /* seconds; 802.1Q 8.8.3 */
#define OPTIONS_MBUFS 8191u
/* All the EAL will ever have (without huge pages, what is not touched costs nothing). */
#define OPTIONS_EAL_MIB 48u
#define OPTIONS_MBUF_BYTES 2560u

/* EAL arguments by what they say something about. */
static const char *const memory_args[] = {"--in-memory", "--no-huge",	 "-m",
					  "--socket-mem", "--huge-dir",	 "--legacy-mem",
					  "--huge-unlink", NULL};
static const char *const pci_args[] = {"-a", "--allow", "-b", "--block", "--no-pci", NULL};
static const char *const log_args[] = {"--log-level", NULL};
static const char *const private_args[] = {"--in-memory", "--no-shconf", NULL};

const char *options_help(void)
{
	return "usage: vswitch --control FILE [options] [-- EAL arguments]\n"
	       "The software switch between guests (vhost-user) and networks (any DPDK device).\n"
	       "Its other ports are added over the control socket.\n"
	       "\n"
	       "  --control FILE      JSON-RPC socket: a path to bind, or fd:N, a listening one\n"
	       "  --control-uid UID   who may use it besides root (default: we, or the owner of\n"
	       "                      the socket given by fd:N)\n"
	       "  --lcores LIST       CPUs to forward on, one thread each, e.g. 1,3-5\n"
	       "                      (default: one thread on any CPU)\n"
	       "  --uplink ID=DEVARGS a port on a DPDK device, plugged in while there are the rights it\n"
	       "                      may need: afterwards the switch gives them all away, and port.add\n"
	       "                      takes net_null, net_ring and net_memif only; up to 16 times\n"
	       "  --fdb-size N        addresses the forwarding table holds, 16..4194304 (65536)\n"
	       "  --fdb-age SECONDS   until an unseen address is forgotten, 1..1000000 (300)\n"
	       "  --huge-pages        packet buffers in huge pages, for physical devices; they are\n"
	       "                      otherwise left to the guests\n"
	       "  --mbufs N           packet buffers for ethdev ports, 1023..1048575 (8191)\n"
	       "  --log-level LEVEL   error, warning, info or debug (info)\n"
	       "  --help              this text\n"
	       "\n"
	       "Behind \"--\" come arguments for DPDK's EAL. Without any, no file is left behind, and\n"
	       "no PCI device is touched that no port asks for.\n";
}

/* 0 or -EINVAL. */
static int options_number(const char *text, unsigned long min, unsigned long max,
			  unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || *value < min || *value > max)
		return -EINVAL;
	return 0;
}

static int options_add_cpu(unsigned long cpu, const cpu_set_t *allowed, struct options *options,
			   char *why, size_t why_size)
{
	if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, allowed)) {
		snprintf(why, why_size, "--lcores: CPU %lu is not there or not ours to use", cpu);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < options->cpu_count; i++) {
		if (options->cpus[i] == cpu) {
			snprintf(why, why_size, "--lcores: CPU %lu is named twice", cpu);
			return -EINVAL;
		}
	}
	if (options->cpu_count == OPTIONS_MAX_LCORES) {
		snprintf(why, why_size, "--lcores: more than %u CPUs", OPTIONS_MAX_LCORES);
		return -EINVAL;
	}
	options->cpus[options->cpu_count++] = (uint16_t)cpu;
	return 0;
}

int options_parse_cpus(const char *text, const cpu_set_t *allowed, struct options *options,
		       char *why, size_t why_size)
{
	const char *p = text;

	options->cpu_count = 0;
	for (;;) {
		unsigned long first, last;
		char *end;

		first = strtoul(p, &end, 10);
		last = first;
		if (end == p || *p < '0' || *p > '9')
			break;
		p = end;
		if (*p == '-') {
			p++;
			last = strtoul(p, &end, 10);
			if (end == p || *p < '0' || *p > '9' || last < first)
				break;
			p = end;
		}
		for (unsigned long cpu = first; cpu <= last; cpu++)
			if (options_add_cpu(cpu, allowed, options, why, why_size) < 0)
				return -EINVAL;
		if (*p == '\0')
			return 0;
		if (*p++ != ',')
			break;
	}
	snprintf(why, why_size, "--lcores \"%s\": expected CPU numbers like 1,3-5", text);
	return -EINVAL;
}

enum {
	OPT_CONTROL = 256, OPT_UID, OPT_LCORES, OPT_UPLINK, OPT_FDB_SIZE, OPT_FDB_AGE, OPT_HUGE,
	OPT_MBUFS, OPT_LOG, OPT_HELP
};

static const struct option long_options[] = {
	{"control", required_argument, NULL, OPT_CONTROL},
	{"control-uid", required_argument, NULL, OPT_UID},
	{"lcores", required_argument, NULL, OPT_LCORES},
	{"uplink", required_argument, NULL, OPT_UPLINK},
	{"fdb-size", required_argument, NULL, OPT_FDB_SIZE},
	{"fdb-age", required_argument, NULL, OPT_FDB_AGE},
	{"huge-pages", no_argument, NULL, OPT_HUGE},
	{"mbufs", required_argument, NULL, OPT_MBUFS},
	{"log-level", required_argument, NULL, OPT_LOG},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL},
};

static int options_set_number(struct options *options, int opt, const char *text, char *why,
			      size_t why_size)
{
	static const struct {
		int opt;
		const char *name;
		unsigned long min, max;
	} ranges[] = {
		{OPT_UID, "--control-uid", 0, UINT32_MAX - 1},
		{OPT_FDB_SIZE, "--fdb-size", 16, 4194304},
		{OPT_FDB_AGE, "--fdb-age", 1, 1000000},
		{OPT_MBUFS, "--mbufs", 1023, 1048575},
	};
	unsigned int i = 0;
	unsigned long value;

	while (ranges[i].opt != opt)
		i++;
	if (options_number(text, ranges[i].min, ranges[i].max, &value) < 0) {
		snprintf(why, why_size, "%s \"%s\": expected a number from %lu to %lu",
			 ranges[i].name, text, ranges[i].min, ranges[i].max);
		return -EINVAL;
	}
	if (opt == OPT_UID)
		options->control_uid = (uid_t)value;
	else if (opt == OPT_FDB_SIZE)
		options->fdb_size = (uint32_t)value;
	else if (opt == OPT_FDB_AGE)
		options->fdb_age = (uint32_t)value;
	else
		options->mbufs = (uint32_t)value;
	return 0;
}

static int options_add_uplink(struct options *options, const char *text, char *why, size_t why_size)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
	struct options_uplink *uplink = &options->uplinks[options->uplink_count];

	if (options->uplink_count == OPTIONS_MAX_UPLINKS) {
		snprintf(why, why_size, "--uplink: more than %u", OPTIONS_MAX_UPLINKS);
		return -EINVAL;
	}
	if (!len || len > OPTIONS_ID_MAX || text[len] != '=' || !text[len + 1]) {
		snprintf(why, why_size,
			 "--uplink \"%s\": expected ID=DEVARGS, the ID of at most %u of a-z, 0-9 and "
			 "-, like up0=net_tap0,iface=up0",
			 text, OPTIONS_ID_MAX);
		return -EINVAL;
	}
	memcpy(uplink->id, text, len);
	uplink->devargs = text + len + 1;
	options->uplink_count++;
	return 0;
}

static int options_set(struct options *options, int opt, const char *value, char *why,
		       size_t why_size)
{
	cpu_set_t allowed;

	switch (opt) {
	case OPT_CONTROL:
		options->control = value;
		return 0;
	case OPT_LCORES:
		CPU_ZERO(&allowed);
		if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
			CPU_SET(0, &allowed);
		return options_parse_cpus(value, &allowed, options, why, why_size);
	case OPT_UPLINK:
		return options_add_uplink(options, value, why, why_size);
	case OPT_HUGE:
		options->huge_pages = true;
		return 0;
	case OPT_LOG:
		if (log_level_parse(value, &options->log_level) == 0)
			return 0;
		snprintf(why, why_size,
			 "--log-level \"%s\": expected error, warning, info or debug", value);
		return -EINVAL;
	case OPT_UID:
	case OPT_FDB_SIZE:
	case OPT_FDB_AGE:
	case OPT_MBUFS:
		return options_set_number(options, opt, value, why, why_size);
	}
	snprintf(why, why_size, "unknown option or missing value; see --help");
	return -EINVAL;
}

enum options_result options_parse(int argc, char **argv, struct options *options, char *why,
				  size_t why_size)
{
	int opt;

	*options = (struct options){
		.control_uid = (uid_t)-1,
		.fdb_size = OPTIONS_FDB_SIZE,
		.fdb_age = OPTIONS_FDB_AGE,
		.mbufs = OPTIONS_MBUFS,
		.log_level = LOG_LEVEL_INFO,
	};
	optind = 0;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
		if (opt == OPT_HELP)
			return OPTIONS_HELP;
		if (opt == '?' && optind > 0 && optind <= argc)
			snprintf(why, why_size, "\"%s\": unknown option or missing value; see --help",
				 argv[optind - 1]);
		if (opt == '?' || options_set(options, opt, optarg, why, why_size) < 0)
			return OPTIONS_ERROR;
	}
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0) {
		snprintf(why, why_size, "\"%s\": unexpected argument; see --help", argv[optind]);
		return OPTIONS_ERROR;
	}
	if (!options->control) {
		snprintf(why, why_size, "--control FILE is missing; see --help");
		return OPTIONS_ERROR;
	}
	options->eal_args = argv + optind;
	options->eal_arg_count = argc - optind;
	return OPTIONS_RUN;
}

/* Whether the user's EAL arguments say something about one of the names. */
static bool options_eal_says(const struct options *options, const char *const *names)
{
	for (int i = 0; i < options->eal_arg_count; i++) {
		for (unsigned int n = 0; names[n]; n++) {
			const char *arg = options->eal_args[i];
			size_t len = strlen(names[n]);

			if (strncmp(arg, names[n], len) != 0)
				continue;
			/* "-m 64", "-m64", "--log-level=8". */
			if (len == 2 || arg[len] == '\0' || arg[len] == '=')
				return true;
		}
	}
	return false;
}

/* "(0-3,6)" of a set. */
static void options_cpu_list(const cpu_set_t *set, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, "(");

	for (int cpu = 0; cpu < CPU_SETSIZE && len < size; cpu++) {
		if (CPU_ISSET(cpu, set))
			len += (size_t)snprintf(text + len, size - len, "%s%d",
						len > 1 ? "," : "", cpu);
	}
	if (len < size)
		snprintf(text + len, size - len, ")");
}

static void options_eal_lcores(const struct options *options, const cpu_set_t *allowed,
			       struct options_eal *eal)
{
	char all[1024];
	size_t len;

	options_cpu_list(allowed, all, sizeof(all));
	len = (size_t)snprintf(eal->lcores, sizeof(eal->lcores), "--lcores=0@%s", all);
	if (options->cpu_count == 0 && len < sizeof(eal->lcores))
		snprintf(eal->lcores + len, sizeof(eal->lcores) - len, ",1@%s", all);
	for (unsigned int i = 0; i < options->cpu_count && len < sizeof(eal->lcores); i++)
		len += (size_t)snprintf(eal->lcores + len, sizeof(eal->lcores) - len, ",%u@%u",
					i + 1, options->cpus[i]);
}

static void options_eal_add(struct options_eal *eal, const char *arg)
{
	if (eal->argc < OPTIONS_MAX_EAL_ARGS)
		eal->argv[eal->argc] = (char *)(uintptr_t)arg;
	eal->argc++;
}

int options_make_eal(const struct options *options, const cpu_set_t *allowed,
		     struct options_eal *eal)
{
	/* Which has no such socket either, and may not be said twice. */
	bool in_memory = options_eal_says(options, memory_args) ?
				 options_eal_says(options, private_args) : options->huge_pages;

	memset(eal, 0, sizeof(*eal));
	options_eal_lcores(options, allowed, eal);
	options_eal_add(eal, "vswitch");
	options_eal_add(eal, eal->lcores);
	if (!options_eal_says(options, memory_args)) {
		/* They exclude each other; no file is made either way. */
		options_eal_add(eal, options->huge_pages ? "--in-memory" : "--no-huge");
		options_eal_add(eal, "-m");
		snprintf(eal->memory, sizeof(eal->memory), "%u",
			 OPTIONS_EAL_MIB + (unsigned int)((uint64_t)options->mbufs *
							  OPTIONS_MBUF_BYTES >> 20));
		options_eal_add(eal, eal->memory);
	}
	if (!options_eal_says(options, pci_args)) {
		/* An allow list with nothing a driver wants: ports can still plug devices by name. */
		options_eal_add(eal, "-a");
		options_eal_add(eal, "0000:00:00.0");
	}
	if (!options_eal_says(options, log_args))
		options_eal_add(eal, "--log-level=warning");
	for (int i = 0; i < options->eal_arg_count; i++)
		options_eal_add(eal, options->eal_args[i]);
	/* Last, so that they win: no socket for telemetry or for secondary processes. */
	options_eal_add(eal, "--no-telemetry");
	if (!in_memory)
		options_eal_add(eal, "--no-shconf");
	return eal->argc <= OPTIONS_MAX_EAL_ARGS ? 0 : -E2BIG;
}
