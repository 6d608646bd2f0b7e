#include <stdio.h>

#include "mgmt/vmmctl/command.h"

static const struct column port_columns[] = {
	{ "PORT", "id" }, { "TYPE", "type" }, { "STATE", "state" }, { "LINK", "link" },
	{ "RECEIVED", "counters.rx_frames" }, { "SENT", "counters.tx_frames" },
	{ "DROPPED", "counters.drops" }, { "DEVICE", "devargs" }, { 0 },
};

static const struct column fdb_columns[] = {
	{ "ADDRESS", "mac" }, { "PORT", "port" }, { "AGE", "age_seconds" }, { 0 },
};

static const struct column pci_columns[] = {
	{ "BDF", "bdf" }, { "DRIVER", "driver" }, { "NODE", "numa_node" },
	{ "GROUP", "iommu_group.id" }, { "VFS", "sriov.num_vfs" }, { "PF", "vf_of.pf" },
	{ "INTERFACE", "interfaces.0.name" }, { "HOLDER", "holder" }, { "CLASS", "class" },
	{ "DEVICE", "device" }, { 0 },
};

static const struct column sriov_columns[] = {
	{ "PF", "pf.bdf" }, { "DRIVER", "pf.driver" }, { "NODE", "pf.numa_node" },
	{ "VFS", "pf.sriov.num_vfs" }, { "AT-MOST", "pf.sriov.total_vfs" },
	{ "INTERFACE", "pf.interfaces.0.name" }, { "DEVICE", "pf.device" }, { 0 },
};

static const struct column doctor_columns[] = {
	{ "CHECK", "id" }, { "SUBJECT", "subject" }, { "STATUS", "status" }, { "FOUND", "found" },
	{ "FIX", "fix" }, { 0 },
};

static int host_show(const struct context *context, char **args, int n_args)
{
	return show_object(context, "/v1/host");
}

static int host_doctor(const struct context *context, char **args, int n_args)
{
	return show_list(context, "/v1/host/doctor", doctor_columns);
}

static int host_stop_guests(const struct context *context, char **args, int n_args)
{
	json_int_t grace = 10;

	if (n_args && parse_number("grace period", args[0], &grace))
		return STATUS_USAGE;
	return do_call(context, "POST", "/v1/host/stop-guests",
		       json_pack("{s:I}", "grace_seconds", grace));
}

static int port_list(const struct context *context, char **args, int n_args)
{
	return show_list(context, "/v1/ports", port_columns);
}

static int port_show(const struct context *context, char **args, int n_args)
{
	char path[128];

	if (check_id(args[0]))
		return STATUS_USAGE;
	snprintf(path, sizeof(path), "/v1/ports/%s", args[0]);
	return show_object(context, path);
}

static int port_add(const struct context *context, char **args, int n_args)
{
	return do_call(context, "POST", "/v1/ports",
		       json_pack("{s:s, s:s, s:s}", "id", args[0], "type", "ethdev", "devargs",
				 args[1]));
}

static int port_remove(const struct context *context, char **args, int n_args)
{
	char path[128];

	if (check_id(args[0]))
		return STATUS_USAGE;
	snprintf(path, sizeof(path), "/v1/ports/%s", args[0]);
	return do_call(context, "DELETE", path, NULL);
}

static int switch_show(const struct context *context, char **args, int n_args)
{
	return show_object(context, "/v1/switch");
}

static int switch_fdb(const struct context *context, char **args, int n_args)
{
	return show_list(context, "/v1/switch/fdb", fdb_columns);
}

static int switch_flush(const struct context *context, char **args, int n_args)
{
	return do_call(context, "DELETE", "/v1/switch/fdb", NULL);
}

static int pci_list(const struct context *context, char **args, int n_args)
{
	return show_list(context, "/v1/pci/devices", pci_columns);
}

static int sriov_list(const struct context *context, char **args, int n_args)
{
	return show_list(context, "/v1/sriov/pfs", sriov_columns);
}

static int events_follow(const struct context *context, char **args, int n_args)
{
	return rest_follow(&context->rest, "/v1/events");
}

static int metrics_show(const struct context *context, char **args, int n_args)
{
	return show_object(context, "/v1/metrics");
}

const struct command host_commands[] = {
	{ "port list", "", "the switch's ports and what went through", 0, 0, port_list },
	{ "port show", "PORT", "one port, with every counter", 1, 1, port_show },
	{ "port add", "PORT DEVARGS", "an uplink, e.g. net_memif0,socket=/run/peer.sock", 2, 2,
	  port_add },
	{ "port remove", "PORT", "removes an uplink", 1, 1, port_remove },
	{ "switch show", "", "the switch", 0, 0, switch_show },
	{ "switch fdb", "", "the addresses it has learned", 0, 0, switch_fdb },
	{ "switch flush", "", "makes it forget them", 0, 0, switch_flush },
	{ "host show", "", "the host", 0, 0, host_show },
	{ "host doctor", "", "what it lacks for giving devices to guests, and the remedy", 0, 0,
	  host_doctor },
	{ "host stop-guests", "[SECONDS]", "power button for all, then the hard way (10 s)", 0, 1,
	  host_stop_guests },
	{ "pci list", "", "the host's PCI functions", 0, 0, pci_list },
	{ "sriov list", "", "those that can make VFs", 0, 0, sriov_list },
	{ "events", "", "what happens, as it happens", 0, 0, events_follow },
	{ "metrics", "", "counters and states in Prometheus' text format", 0, 0, metrics_show },
	{ 0 },
};
