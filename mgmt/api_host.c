#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "mgmt/api.h"
#include "mgmt/vm.h"
#include "mgmt/vm_spec.h"

#define HUGEPAGES "/sys/kernel/mm/hugepages"

static long long read_number(const char *path)
{
	long long n = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	if (fscanf(f, "%lld", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static json_t *hugepages_json(void)
{
	DIR *dir = opendir(HUGEPAGES);
	json_t *list = json_array();
	struct dirent *entry;
	unsigned long kib;
	char path[128], size[24];
	long long total;

	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "hugepages-%lukB", &kib) != 1)
			continue;
		if (kib >= 1024 * 1024)
			snprintf(size, sizeof(size), "%luG", kib / 1024 / 1024);
		else
			snprintf(size, sizeof(size), "%luM", kib / 1024);
		snprintf(path, sizeof(path), HUGEPAGES "/hugepages-%lukB/nr_hugepages", kib);
		total = read_number(path);
		snprintf(path, sizeof(path), HUGEPAGES "/hugepages-%lukB/free_hugepages", kib);
		json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "page_size", size,
						      "total", (json_int_t)total, "free",
						      (json_int_t)read_number(path)));
	}
	if (dir)
		closedir(dir);
	return list;
}

static json_int_t memory_free_mib(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	json_int_t kib = 0;
	char line[128];
	long long n;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %lld kB", &n) == 1)
			kib = n;
	}
	if (f)
		fclose(f);
	return kib / 1024;
}

void api_host_get(struct http_request *request)
{
	const struct mgmt *mgmt = request_mgmt(request);
	long page = sysconf(_SC_PAGESIZE);
	struct utsname name;
	int vms = 0;

	uname(&name);
	for (struct vm *vm = vms_first(mgmt->vms); vm; vm = vm_next(vm))
		vms++;
	request_reply(request, 200,
		      json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:o, s:b, s:s, s:s, s:i}",
				"version", MGMT_VERSION, "hostname", name.nodename, "kernel",
				name.release, "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN),
				"memory_mib",
				(json_int_t)(sysconf(_SC_PHYS_PAGES) / (1024 * 1024 / page)),
				"memory_free_mib", memory_free_mib(), "hugepages",
				hugepages_json(), "kvm", access("/dev/kvm", F_OK) == 0, "boot_id",
				mgmt->boot_id, "run_dir", mgmt->options->run_dir, "vms", vms));
}

static void on_all_down(void *opaque, const struct problem *problem)
{
	if (problem)
		request_fail(opaque, problem);
	else
		api_vms_list(opaque);
}

void api_host_stop_guests(struct http_request *request)
{
	json_t *body = request_body(request, true), *wanted;
	struct problem problem;
	json_int_t grace;
	int err;

	if (!body)
		return;
	err = stop_guests_check(body, &wanted, &problem);
	json_decref(body);
	if (err) {
		request_fail(request, &problem);
		return;
	}
	grace = json_integer_value(json_object_get(wanted, "grace_seconds"));
	json_decref(wanted);
	vms_stop_all(request_mgmt(request)->vms, (unsigned int)grace, on_all_down, request);
}
