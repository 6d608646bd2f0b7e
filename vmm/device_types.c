#include "vmm/device_types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "devemu/block_file.h"
#include "vhost-user/virtio_blk.h"
#include "vhost-user/virtio_net.h"

#define SOCKET_MAX 107u /* bytes: sun_path without its end */
#define SERIAL_MAX 20u /* bytes, virtio 1.2 §5.2.6 */

static int hex_byte(const char *text)
{
	int value = 0;

	for (int i = 0; i < 2; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			value = value << 4 | (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			value = value << 4 | ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* "xx:xx:xx:xx:xx:xx", of one station. */
static bool parse_mac(const char *text, uint8_t *mac)
{
	bool any = false;

	if (!text || strlen(text) != 17)
		return false;
	for (int i = 0; i < 6; i++) {
		int byte = hex_byte(text + 3 * i);

		if (byte < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return false;
		mac[i] = (uint8_t)byte;
		any |= byte != 0;
	}
	return any && !(mac[0] & 1);
}

static int parse_vhost_user_nic(const struct config_why *why, const struct config_node *node,
				struct device_config *config)
{
	struct nic_config *nic = &config->nic;
	uint64_t mtu = 1500, queue_pairs = 1;
	struct config_node member;
	int ret;

	nic->socket = CONFIG_NO_FILE;
	config_member(node, "mac", &member);
	if (!parse_mac(json_string_value(member.json), nic->mac))
		return config_refuse(why, &member,
				     "a unicast address as \"52:54:00:12:34:56\", not all zero");
	if ((ret = config_file(why, node, "socket", true, &nic->socket)) < 0 ||
	    (ret = config_uint(why, node, "mtu", false, VIRTIO_NET_MIN_MTU, VIRTIO_NET_MAX_MTU,
			       &mtu)) < 0 ||
	    (ret = config_uint(why, node, "queue_pairs", false, 1, VIRTIO_NET_MAX_QUEUE_PAIRS,
			       &queue_pairs)) < 0)
		return ret;
	if (nic->socket.path && strlen(nic->socket.path) > SOCKET_MAX) {
		config_member(node, "socket", &member);
		return config_refuse(why, &member, "a path of at most 107 bytes, as sockets have");
	}
	nic->mtu = (uint16_t)mtu;
	nic->queue_pairs = (unsigned int)queue_pairs;
	return 0;
}

static int create_vhost_user_nic(const struct device_host *host,
				 const struct device_config *config, struct pci_device **pci,
				 char *why, size_t why_size)
{
	struct virtio_net_params params = {
		.id = config->id,
		.loop = host->loop,
		.hv = host->hv,
		.dma = host->dma,
		.memory = host->memory,
		.socket_path = config->nic.socket.path,
		.listen_fd = -1,
		.mtu = config->nic.mtu,
		.queue_pairs = config->nic.queue_pairs,
	};
	int ret = 0;

	memcpy(params.mac, config->nic.mac, sizeof(params.mac));
	if (!params.socket_path) {
		params.listen_fd = config_file_open(&config->nic.socket, 0);
		if (params.listen_fd < 0)
			ret = params.listen_fd;
	}
	if (!ret)
		ret = virtio_net_create(&params, pci);
	if (ret < 0) {
		snprintf(why, why_size, "nic %s: %s", config->id, strerror(-ret));
		if (params.listen_fd >= 0)
			close(params.listen_fd);
	}
	return ret;
}

static void describe_vhost_user_nic(struct pci_device *pci, json_t *info)
{
	struct virtio_net_info net;

	virtio_net_get_info(pci, &net);
	json_object_set_new(info, "link_up", json_boolean(net.link_up));
	json_object_set_new(info, "connected", json_boolean(net.connected));
	json_object_set_new(info, "reason", json_string(net.reason));
	json_object_set_new(info, "queue_pairs", json_integer(net.queue_pairs));
	json_object_set_new(info, "features", json_integer((json_int_t)net.features));
}

static int parse_virtio_disk(const struct config_why *why, const struct config_node *node,
			     struct device_config *config)
{
	struct disk_config *disk = &config->disk;
	int ret;

	disk->file = CONFIG_NO_FILE;
	disk->serial = "";
	if ((ret = config_file(why, node, "file", true, &disk->file)) < 0 ||
	    (ret = config_bool(why, node, "read_only", &disk->read_only)) < 0)
		return ret;
	return config_string(why, node, "serial", false, SERIAL_MAX, &disk->serial);
}

static int create_virtio_disk(const struct device_host *host, const struct device_config *config,
			      struct pci_device **pci, char *why, size_t why_size)
{
	struct block_file_config file = {
		.name = config->id,
		.loop = host->loop,
		.read_only = config->disk.read_only,
	};
	struct virtio_blk_params params = {
		.id = config->id,
		.loop = host->loop,
		.hv = host->hv,
		.dma = host->dma,
		.serial = config->disk.serial,
	};
	char reason[256] = "";
	int ret;

	/* A FIFO is not waited for, but refused; block_file makes the descriptor wait again. */
	file.fd = config_file_open(&config->disk.file,
				   (file.read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK);
	if (file.fd < 0) {
		ret = file.fd;
		snprintf(reason, sizeof(reason), "cannot be opened: %s", strerror(-ret));
		goto err;
	}
	ret = block_file_create(&file, &params.backend, reason, sizeof(reason));
	if (ret < 0)
		goto err;
	ret = virtio_blk_create(&params, pci);
	if (ret < 0) {
		params.backend->ops->destroy(params.backend);
		snprintf(reason, sizeof(reason), "%s", strerror(-ret));
		goto err;
	}
	return 0;
err:
	snprintf(why, why_size, "disk %s: file: found %s; allowed: a disk image or block device (%s)",
		 config->id,
		 config->disk.file.path ? config->disk.file.path : "inherited descriptor", reason);
	return ret;
}

static const char *const vhost_user_nic_keys[] = {"id",	 "mode", "socket",
						  "mac", "mtu",	 "queue_pairs", NULL};
static const char *const virtio_disk_keys[] = {"id",	    "mode",   "file",
					       "read_only", "serial", NULL};

static const struct device_type device_types[] = {
	{
		.class = DEVICE_NIC,
		.mode = "vhost-user",
		.keys = vhost_user_nic_keys,
		.feature = MEMORY_FEATURE_VHOST_USER,
		.parse = parse_vhost_user_nic,
		.create = create_vhost_user_nic,
		.describe = describe_vhost_user_nic,
	},
	{
		.class = DEVICE_DISK,
		.mode = "virtio-blk",
		.keys = virtio_disk_keys,
		.feature = MEMORY_FEATURES,
		.parse = parse_virtio_disk,
		.create = create_virtio_disk,
	},
};

bool device_create_refuses(int err)
{
	static const int refusals[] = {ENOENT, EACCES, EINVAL, ENOTDIR, EISDIR,
				       ELOOP,  ENXIO,  EROFS,  ENAMETOOLONG, EBADF};

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (err == -refusals[i])
			return true;
	return false;
}

int device_config_parse(const struct config_why *why, const struct config_node *node,
			enum device_class class, struct device_config *config)
{
	const struct device_type *types[ARRAY_SIZE(device_types)];
	const char *modes[ARRAY_SIZE(device_types) + 1] = {NULL};
	unsigned int choice = 0, count = 0;
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(device_types); i++) {
		if (device_types[i].class != class)
			continue;
		types[count] = &device_types[i];
		modes[count++] = device_types[i].mode;
	}
	if (!json_is_object(node->json))
		return config_refuse(why, node, "an object");
	if ((ret = config_choice(why, node, "mode", true, modes, &choice)) < 0 ||
	    (ret = config_object(why, node, types[choice]->keys)) < 0 ||
	    (ret = config_id(why, node, "id", &config->id)) < 0)
		return ret;
	config->type = types[choice];
	return config->type->parse(why, node, config);
}
