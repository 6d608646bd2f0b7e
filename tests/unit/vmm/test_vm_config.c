#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "vmm/device_types.h"
#include "vmm/vm_config.h"

#define BASE "\"id\":\"g1\",\"memory\":{\"size_mib\":64},\"boot\":{\"kernel\":\"/k\"}"
#define NIC "{\"id\":\"net0\",\"mode\":\"vhost-user\",\"socket\":\"/s\",\"mac\":\"52:54:00:12:34:56\""
#define DISK "{\"id\":\"disk0\",\"mode\":\"virtio-blk\",\"file\":\"fd:7\""

static struct vm_config *good(const char *text)
{
	struct vm_config *config = NULL;
	char why[512] = "";

	if (vm_config_parse_text(text, strlen(text), &config, why, sizeof(why)) < 0)
		fail_msg("refused: %s", why);
	return config;
}

/* One line that holds each of the words. */
static void bad(const char *text, const char *where, const char *found, const char *allowed)
{
	struct vm_config *config = NULL;
	char why[512] = "";
	int ret = vm_config_parse_text(text, strlen(text), &config, why, sizeof(why));

	if (!ret) {
		vm_config_free(config);
		fail_msg("accepted: %s", text);
	}
	assert_int_equal(ret, -EINVAL);
	assert_null(strchr(why, '\n'));
	if (!strstr(why, where) || !strstr(why, found) || !strstr(why, allowed))
		fail_msg("\"%s\" lacks \"%s\", \"%s\" or \"%s\"", why, where, found, allowed);
}

static void least_configuration_has_defaults(void **state)
{
	struct vm_config *c = good("{" BASE "}");

	assert_string_equal(c->id, "g1");
	assert_int_equal(c->vcpus, 1);
	assert_int_equal(c->memory.size, 64 * MIB);
	assert_int_equal(c->memory.page_size, 4 * KIB);
	assert_int_equal(c->memory.nodes, 1);
	assert_string_equal(c->boot.kernel.path, "/k");
	assert_false(config_file_given(&c->boot.initrd));
	assert_string_equal(c->boot.cmdline, "");
	assert_int_equal(c->boot.protocol, BOOT_AUTO);
	assert_int_equal(c->console.type, CONSOLE_NULL);
	assert_string_equal(c->kvm.path, "/dev/kvm");
	assert_false(config_file_given(&c->control));
	assert_false(c->debug_exit);
	vm_config_free(c);
}

static void everything_is_read(void **state)
{
	struct vm_config *c = good(
		"{\"id\":\"g1\",\"vcpus\":4,\"memory\":{\"size_mib\":512,\"page_size\":\"2M\","
		"\"prefault\":true,\"nodes\":2},\"boot\":{\"kernel\":\"fd:5\",\"initrd\":\"/i\","
		"\"cmdline\":\"a b\",\"protocol\":\"multiboot\",\"modules\":[{\"file\":\"/m\","
		"\"cmdline\":\"x\"}]},\"console\":{\"type\":\"socket\",\"file\":\"fd:6\"},"
		"\"nics\":[" NIC ",\"mtu\":9000,\"queue_pairs\":4}],\"disks\":[" DISK
		",\"read_only\":true,\"serial\":\"s1\"}],\"control\":\"/c\",\"kvm\":\"fd:8\","
		"\"exit_record\":\"/x\",\"debug_exit\":true}");

	assert_int_equal(c->vcpus, 4);
	assert_int_equal(c->memory.page_size, 2 * MIB);
	assert_true(c->memory.prefault);
	assert_int_equal(c->boot.kernel.fd, 5);
	assert_null(c->boot.kernel.path);
	assert_int_equal(c->boot.protocol, BOOT_MULTIBOOT);
	assert_int_equal(c->boot.module_count, 1);
	assert_string_equal(c->boot.modules[0].cmdline, "x");
	assert_int_equal(c->console.type, CONSOLE_SOCKET);
	assert_int_equal(c->console.file.fd, 6);
	assert_int_equal(c->device_count, 2);
	assert_string_equal(c->devices[0].type->mode, "vhost-user");
	assert_int_equal(c->devices[0].nic.mtu, 9000);
	assert_int_equal(c->devices[0].nic.queue_pairs, 4);
	assert_memory_equal(c->devices[0].nic.mac, "\x52\x54\x00\x12\x34\x56", 6);
	assert_string_equal(c->devices[1].type->mode, "virtio-blk");
	assert_true(c->devices[1].disk.read_only);
	assert_string_equal(c->devices[1].disk.serial, "s1");
	assert_int_equal(c->devices[1].disk.file.fd, 7);
	assert_int_equal(c->kvm.fd, 8);
	assert_true(c->debug_exit);
	vm_config_free(c);
}

static void mistakes_are_named(void **state)
{
	bad("", "line", "", "");
	bad("[]", "(configuration)", "[]", "an object");
	bad("{" BASE ",\"vcpu\":1}", "vcpu: unknown key", "", "vcpus");
	bad("{" BASE ",\"vcpus\":0}", "vcpus", "found 0", "from 1 to 64");
	bad("{" BASE ",\"vcpus\":\"1\"}", "vcpus", "found \"1\"", "an integer");
	bad("{" BASE ",\"vcpus\":1,\"vcpus\":2}", "line", "duplicate", "");
	bad("{" BASE ",\"debug_exit\":1}", "debug_exit", "found 1", "true, false");
	bad("{\"memory\":{\"size_mib\":64},\"boot\":{\"kernel\":\"/k\"}}", "id", "nothing", "a-z");
	bad("{\"id\":\"G1\",\"memory\":{\"size_mib\":64},\"boot\":{\"kernel\":\"/k\"}}", "id",
	    "\"G1\"", "a-z");
	bad("{\"id\":\"g1\",\"boot\":{\"kernel\":\"/k\"}}", "memory", "nothing", "an object");
	bad("{\"id\":\"g1\",\"memory\":{\"size_mib\":64}}", "boot", "nothing", "an object");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":-1},\"boot\":{\"kernel\":\"/k\"}}",
	    "memory.size_mib", "found -1", "from 1");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":1e3},\"boot\":{\"kernel\":\"/k\"}}",
	    "memory.size_mib", "found 1000.0", "an integer");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":99999999},\"boot\":{\"kernel\":\"/k\"}}",
	    "memory.size_mib", "99999999", "to 4194304");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":63,\"page_size\":\"2M\"},\"boot\":{\"kernel\":"
	    "\"/k\"}}", "memory.size_mib", "63", "multiple of page_size 2M");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":64,\"page_size\":\"64K\"},\"boot\":{\"kernel\":"
	    "\"/k\"}}", "memory.page_size", "64K", "\"4K\", \"2M\", \"1G\"");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":64,\"nodes\":8},\"boot\":{\"kernel\":\"/k\"}}",
	    "memory.nodes", "8", "32 MiB");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":64,\"nodes\":2,\"host_nodes\":[0]},"
	    "\"boot\":{\"kernel\":\"/k\"}}", "memory.host_nodes", "[0]", "one host node");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":64,\"host_nodes\":[64]},"
	    "\"boot\":{\"kernel\":\"/k\"}}", "memory.host_nodes[0]", "64", "0 to 63");
	bad("{\"id\":\"g\",\"memory\":{\"size_mib\":64},\"boot\":{\"kernel\":\"fd:x\"}}",
	    "boot.kernel", "fd:x", "a path");
	bad("{" BASE ",\"console\":{\"type\":\"file\"}}", "console.file", "nothing", "a path");
	bad("{" BASE ",\"console\":{\"type\":\"pty\",\"file\":\"/f\"}}", "console.file", "/f",
	    "only with");
	bad("{" BASE ",\"console\":{\"type\":\"tty\"}}", "console.type", "tty", "\"stdio\"");
}

static void device_mistakes_are_named(void **state)
{
	bad("{" BASE ",\"nics\":{}}", "nics", "{}", "an array");
	bad("{" BASE ",\"nics\":[1]}", "nics[0]", "found 1", "an object");
	bad("{" BASE ",\"nics\":[{}]}", "nics[0].mode", "nothing", "\"vhost-user\"");
	bad("{" BASE ",\"nics\":[{\"mode\":\"tap\"}]}", "nics[0].mode", "tap", "\"vhost-user\"");
	bad("{" BASE ",\"nics\":[" NIC ",\"colour\":1}]}", "nics[0].colour", "", "queue_pairs");
	bad("{" BASE ",\"nics\":[" NIC ",\"mtu\":67}]}", "nics[0].mtu", "67", "from 68");
	bad("{" BASE ",\"nics\":[" NIC ",\"queue_pairs\":0}]}", "nics[0].queue_pairs", "0",
	    "from 1");
	bad("{" BASE ",\"nics\":[" NIC "}," NIC "}]}", "nics[1].id", "net0", "no other");
	bad("{" BASE ",\"nics\":[{\"id\":\"n\",\"mode\":\"vhost-user\",\"socket\":\"/s\",\"mac\":"
	    "\"01:00:00:00:00:01\"}]}", "nics[0].mac", "01:00", "unicast");
	bad("{" BASE ",\"nics\":[{\"id\":\"n\",\"mode\":\"vhost-user\",\"socket\":\"/s\",\"mac\":"
	    "\"52-54-00-12-34-56\"}]}", "nics[0].mac", "52-54", "unicast");
	bad("{" BASE ",\"disks\":[{\"id\":\"d\",\"mode\":\"virtio-blk\"}]}", "disks[0].file",
	    "nothing", "a path");
	bad("{" BASE ",\"disks\":[" DISK ",\"serial\":\"123456789012345678901\"}]}",
	    "disks[0].serial", "12345", "at most 20");
}

static void devices_are_counted_together(void **state)
{
	char text[16384];
	int len = snprintf(text, sizeof(text), "{" BASE ",\"nics\":[");

	for (int i = 0; i < 20; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
				"%s{\"id\":\"n%d\",\"mode\":\"vhost-user\",\"socket\":\"/s\","
				"\"mac\":\"52:54:00:12:34:56\"}", i ? "," : "", i);
	len += snprintf(text + len, sizeof(text) - (size_t)len, "],\"disks\":[");
	for (int i = 0; i < 5; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
				"%s{\"id\":\"d%d\",\"mode\":\"virtio-blk\",\"file\":\"/f\"}",
				i ? "," : "", i);
	snprintf(text + len, sizeof(text) - (size_t)len, "]}");
	bad(text, "disks", "", "at most 24");
}

#define LETTERS "\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc"

static void long_findings_are_cut(void **state)
{
	char text[4096], why[512];
	struct vm_config *config;
	json_t *json;

	snprintf(text, sizeof(text), "{" BASE ",\"kvm\":[\"%01000d\"]}", 0);
	assert_int_equal(vm_config_parse_text(text, strlen(text), &config, why, sizeof(why)),
			 -EINVAL);
	assert_true(strlen(why) < 200);
	assert_non_null(strstr(why, "..."));
	/* Within a letter, too, wherever the cut falls: what is said must be fit for JSON. */
	for (int skip = 0; skip < 2; skip++) {
		snprintf(text, sizeof(text), "{" BASE ",\"kvm\":[\"%s%s\"]}", skip ? "x" : "",
			 LETTERS LETTERS LETTERS);
		assert_int_equal(vm_config_parse_text(text, strlen(text), &config, why,
						      sizeof(why)), -EINVAL);
		json = json_string(why);
		assert_non_null(json);
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_configuration_has_defaults),
		cmocka_unit_test(everything_is_read),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(device_mistakes_are_named),
		cmocka_unit_test(devices_are_counted_together),
		cmocka_unit_test(long_findings_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
