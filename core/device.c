#include "core/device.h"

void device_init(struct device *dev, const char *id, const struct device_ops *ops)
{
	pthread_mutexattr_t attr;

	dev->id = id;
	dev->ops = ops;
	/* Error-checking: a device that enters itself is told, not hung. */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&dev->lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

void device_fini(struct device *dev)
{
	pthread_mutex_destroy(&dev->lock);
}

void device_enter(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
}

void device_leave(struct device *dev)
{
	pthread_mutex_unlock(&dev->lock);
}
