#include "devemu/debug_exit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct debug_exit {
	struct device dev;
	struct io_bus *pio;
	struct io_range range;
	void (*exit)(void *opaque, unsigned int status);
	void *opaque;
	_Atomic uint64_t writes;
};

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned int size)
{
	return 0; /* how a test kernel knows the port is there */
}

static void exit_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct debug_exit *de = opaque;

	atomic_fetch_add_explicit(&de->writes, 1, memory_order_relaxed);
	de->exit(de->opaque, (unsigned int)(value << 1 | 1) & 0xff);
}

static const struct io_ops exit_ops = { .read = exit_read, .write = exit_write };

static void debug_exit_reset(struct device *dev)
{
}

static void debug_exit_save(struct device *dev, void *state)
{
}

static int debug_exit_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	return version == 1 && size == 0 ? 0 : -EINVAL;
}

static void debug_exit_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct debug_exit *de = container_of(dev, struct debug_exit, dev);

	emit(opaque, "writes", atomic_load_explicit(&de->writes, memory_order_relaxed));
}

static void debug_exit_destroy(struct device *dev)
{
	struct debug_exit *de = container_of(dev, struct debug_exit, dev);

	io_bus_remove(de->pio, &de->range);
	device_fini(dev);
	free(de);
}

static const struct device_ops debug_exit_ops = {
	.type = "debug-exit",
	.reset = debug_exit_reset,
	.state_version = 1,
	.state_size = 0, /* it remembers nothing */
	.save = debug_exit_save,
	.load = debug_exit_load,
	.counters = debug_exit_counters,
	.destroy = debug_exit_destroy,
};

int debug_exit_create(const struct debug_exit_config *config, struct debug_exit **out)
{
	struct debug_exit *de = calloc(1, sizeof(*de));
	int err;

	if (!de)
		return -ENOMEM;
	device_init(&de->dev, config->id, &debug_exit_ops);
	de->pio = config->pio;
	de->exit = config->exit;
	de->opaque = config->opaque;
	de->range = (struct io_range){
		.name = config->id, .base = DEBUG_EXIT_PORT, .size = 4, .ops = &exit_ops,
		.opaque = de, .lock = &de->dev.lock,
	};
	err = io_bus_add(de->pio, &de->range);
	if (err) {
		device_fini(&de->dev);
		free(de);
		return err;
	}
	*out = de;
	return 0;
}

struct device *debug_exit_device(struct debug_exit *de)
{
	return &de->dev;
}
