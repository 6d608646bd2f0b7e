#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mgmt/api.h"
#include "mgmt/http.h"
#include "mgmt/port.h"
#include "mgmt/vm.h"
#include "mgmt/vswitch.h"

/* Prometheus' text format 0.0.4. Ids hold no character that a label would have to escape. */

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_vms(FILE *out, struct vms *vms)
{
	head(out, "vmm_vm_state", "gauge", "1 for the state a VM is in");
	for (struct vm *vm = vms_first(vms); vm; vm = vm_next(vm)) {
		for (enum vm_state state = VM_STOPPED; state <= VM_FAILED; state++)
			fprintf(out, "vmm_vm_state{vm=\"%s\",state=\"%s\"} %d\n", vm_id(vm),
				vm_state_name(state), vm_state(vm) == state);
	}
	head(out, "vmm_vm_restarts_total", "counter", "restarts by policy");
	for (struct vm *vm = vms_first(vms); vm; vm = vm_next(vm))
		fprintf(out, "vmm_vm_restarts_total{vm=\"%s\"} %u\n", vm_id(vm), vm_restarts(vm));
}

static void put_switch(FILE *out, const struct vswitch *vswitch)
{
	head(out, "vmm_switch_up", "gauge", "whether the switch answers");
	fprintf(out, "vmm_switch_up %d\n", vswitch_is_up(vswitch));
	head(out, "vmm_switch_restarts_total", "counter", "restarts of the switch");
	fprintf(out, "vmm_switch_restarts_total %u\n", vswitch_restarts(vswitch));
	head(out, "vmm_switch_hangs_total", "counter",
	     "times the switch was ended because it did not answer");
	fprintf(out, "vmm_switch_hangs_total %u\n", vswitch_hangs(vswitch));
}

static void put_number(FILE *out, const char *name, const char *type, const char *help,
		       uint64_t number)
{
	head(out, name, type, help);
	fprintf(out, "%s %" PRIu64 "\n", name, number);
}

static void put_api(FILE *out, const struct http *http)
{
	struct http_stats stats;

	http_stats_get(http, &stats);
	put_number(out, "vmm_api_connections", "gauge", "connections of clients", stats.open);
	put_number(out, "vmm_api_requests_waiting", "gauge",
		   "requests that wait for another process", stats.aside);
	put_number(out, "vmm_api_event_streams", "gauge", "readers of events", stats.streams);
	put_number(out, "vmm_api_connections_total", "counter", "connections taken",
		   stats.accepted);
	head(out, "vmm_api_connections_closed_total", "counter",
	     "connections not taken or ended by the daemon, by reason");
	fprintf(out, "vmm_api_connections_closed_total{reason=\"forbidden\"} %" PRIu64 "\n",
		stats.forbidden);
	fprintf(out, "vmm_api_connections_closed_total{reason=\"timeout\"} %" PRIu64 "\n",
		stats.timed_out);
	fprintf(out, "vmm_api_connections_closed_total{reason=\"crowded\"} %" PRIu64 "\n",
		stats.crowded_out);
	put_number(out, "vmm_api_requests_refused_total", "counter",
		   "requests refused because too many wait", stats.busy);
}

static const char *port_id(const json_t *port)
{
	return json_string_value(json_object_get(port, "id"));
}

static void put_port_counter(FILE *out, const json_t *ports, const char *counter,
			     const char *help)
{
	char name[64];
	json_t *port;
	size_t i;

	snprintf(name, sizeof(name), "vmm_port_%s_total", counter);
	head(out, name, "counter", help);
	json_array_foreach((json_t *)ports, i, port) {
		json_t *value = json_object_get(json_object_get(port, "counters"), counter);

		if (json_is_integer(value))
			fprintf(out, "%s{port=\"%s\"} %" JSON_INTEGER_FORMAT "\n", name,
				port_id(port), json_integer_value(value));
	}
}

/* A name another process chose. */
static bool label_is_plain(const char *label)
{
	return label[0] && strlen(label) == strspn(label, "abcdefghijklmnopqrstuvwxyz"
							  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
							  "0123456789_-. ");
}

/* counts: reason -> number. */
static void put_reasons(FILE *out, const char *name, const json_t *port, json_t *counts)
{
	const char *reason;
	json_t *value;

	json_object_foreach(counts, reason, value) {
		if (label_is_plain(reason))
			fprintf(out, "%s{port=\"%s\",reason=\"%s\"} %" JSON_INTEGER_FORMAT "\n",
				name, port_id(port), reason, json_integer_value(value));
	}
}

static void put_drops_and_faults(FILE *out, const json_t *ports)
{
	json_t *port;
	size_t i;

	head(out, "vmm_port_drops_total", "counter", "frames lost at a port, by reason");
	json_array_foreach((json_t *)ports, i, port)
		put_reasons(out, "vmm_port_drops_total", port,
			    json_object_get(json_object_get(port, "counters"), "drops"));
	head(out, "vmm_port_faults_total", "counter",
	     "vhost-user sessions of a port that ended, by reason");
	json_array_foreach((json_t *)ports, i, port)
		put_reasons(out, "vmm_port_faults_total", port, json_object_get(port, "faults"));
}

static void put_ports(FILE *out, const json_t *ports)
{
	json_t *port;
	size_t i;

	head(out, "vmm_port_link_up", "gauge", "whether the port's other end is there");
	json_array_foreach((json_t *)ports, i, port)
		fprintf(out, "vmm_port_link_up{port=\"%s\"} %d\n", port_id(port),
			!strcmp(json_string_value(json_object_get(port, "link")), "up"));
	put_port_counter(out, ports, "rx_frames", "frames from the guest or wire");
	put_port_counter(out, ports, "rx_bytes", "bytes from the guest or wire");
	put_port_counter(out, ports, "tx_frames", "frames to the guest or wire");
	put_port_counter(out, ports, "tx_bytes", "bytes to the guest or wire");
	put_drops_and_faults(out, ports);
}

static void on_ports(void *opaque, json_t *ports)
{
	const struct mgmt *mgmt = request_mgmt(opaque);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out) {
		put_api(out, mgmt->http);
		put_vms(out, mgmt->vms);
		put_switch(out, mgmt->vswitch);
		put_ports(out, ports);
	}
	if (!out || ferror(out) + fclose(out)) {
		free(text);
		text = NULL;
	}
	json_decref(ports);
	request_reply_text(opaque, "text/plain; version=0.0.4", text);
}

void api_metrics_get(struct http_request *request)
{
	ports_json(request_mgmt(request)->ports, on_ports, request);
}
