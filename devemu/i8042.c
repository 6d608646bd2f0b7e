#include "devemu/i8042.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PORT_DATA   0x60u
#define PORT_STATUS 0x64u /* read; commands on write */

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_SYSTEM	   0x04u /* the self-test has passed */
#define STATUS_COMMAND	   0x08u /* the last write went to 64h */
#define STATUS_UNLOCKED	   0x10u
#define STATUS_TIMEOUT	   0x40u

#define CONFIG_KEYBOARD_IRQ 0x01u
#define CONFIG_SYSTEM	    0x04u
#define CONFIG_KEYBOARD_OFF 0x10u
#define CONFIG_AUX_OFF	    0x20u
#define CONFIG_BITS	    0x77u

#define OUTPUT_NO_RESET 0x01u
#define OUTPUT_A20	0x02u

/* Version 1. */
struct i8042_state {
	uint8_t config;	 /* the command byte, RAM address 0 */
	uint8_t output;	 /* output port */
	uint8_t data;	 /* output buffer, towards the CPU */
	uint8_t status;	 /* OUTPUT_FULL, SYSTEM, COMMAND, TIMEOUT */
	uint8_t pending; /* command that waits for a byte at 60h; 0: none */
	uint8_t ram[32]; /* 20h..3Fh; [0] is `config` */
};

struct i8042 {
	struct device dev;
	struct io_bus *pio;
	struct io_range data_range, status_range;
	struct irq_line irq;
	void (*reset)(void *opaque);
	void *opaque;
	struct i8042_state s;
	_Atomic uint64_t resets;
};

static void update_irq(struct i8042 *k)
{
	irq_line_set(&k->irq, (k->s.status & STATUS_OUTPUT_FULL) &&
				      (k->s.config & CONFIG_KEYBOARD_IRQ));
}

static void put_byte(struct i8042 *k, uint8_t byte, uint8_t flags)
{
	k->s.data = byte;
	k->s.status &= ~STATUS_TIMEOUT;
	k->s.status |= STATUS_OUTPUT_FULL | flags;
}

static void pull_reset(struct i8042 *k)
{
	atomic_fetch_add_explicit(&k->resets, 1, memory_order_relaxed);
	if (k->reset)
		k->reset(k->opaque);
}

static void set_output_port(struct i8042 *k, uint8_t value)
{
	k->s.output = value | OUTPUT_NO_RESET;
	if (!(value & OUTPUT_NO_RESET))
		pull_reset(k);
}

static void command(struct i8042 *k, uint8_t cmd)
{
	struct i8042_state *s = &k->s;

	s->pending = 0;
	switch (cmd) {
	case 0x20 ... 0x3f: /* read RAM */
		put_byte(k, cmd == 0x20 ? s->config : s->ram[cmd - 0x20], 0);
		break;
	case 0x60 ... 0x7f: /* write RAM */
	case 0xd1:	    /* write the output port */
	case 0xd2:	    /* write the output buffer, as if the keyboard had */
	case 0xd3:	    /* the same for the auxiliary port, which is not there */
	case 0xd4:	    /* send to the auxiliary port */
		s->pending = cmd;
		break;
	case 0xa7:
		s->config |= CONFIG_AUX_OFF;
		break;
	case 0xa8:
		s->config &= ~CONFIG_AUX_OFF;
		break;
	case 0xa9: /* test the auxiliary port: general error, there is none */
		put_byte(k, 0xff, 0);
		break;
	case 0xaa: /* self-test: passed */
		s->status |= STATUS_SYSTEM;
		s->config |= CONFIG_SYSTEM;
		put_byte(k, 0x55, 0);
		break;
	case 0xab: /* test the keyboard port: no error */
		put_byte(k, 0x00, 0);
		break;
	case 0xad:
		s->config |= CONFIG_KEYBOARD_OFF;
		break;
	case 0xae:
		s->config &= ~CONFIG_KEYBOARD_OFF;
		break;
	case 0xc0: /* input port: keyboard not locked */
		put_byte(k, 0x80, 0);
		break;
	case 0xd0:
		put_byte(k, s->output, 0);
		break;
	case 0xdd: /* A20 off: kept for reading back, memory does not fold */
		s->output &= ~OUTPUT_A20;
		break;
	case 0xdf:
		s->output |= OUTPUT_A20;
		break;
	case 0xf0 ... 0xff: /* pulse output lines that are 0; line 0 is reset */
		if (!(cmd & OUTPUT_NO_RESET))
			pull_reset(k);
		break;
	default:
		break;
	}
}

static void data_byte(struct i8042 *k, uint8_t value)
{
	uint8_t cmd = k->s.pending;

	k->s.pending = 0;
	switch (cmd) {
	case 0x60:
		k->s.config = value & CONFIG_BITS;
		break;
	case 0x61 ... 0x7f:
		k->s.ram[cmd - 0x60] = value;
		break;
	case 0xd1:
		set_output_port(k, value);
		break;
	case 0xd2:
		put_byte(k, value, 0);
		break;
	case 0xd3:
		break;
	default:
		/* To a device that is not there: the controller gives up and says "resend". */
		k->s.config &= cmd == 0xd4 ? ~CONFIG_AUX_OFF : ~CONFIG_KEYBOARD_OFF;
		put_byte(k, 0xfe, STATUS_TIMEOUT);
		break;
	}
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct i8042 *k = opaque;

	k->s.status &= ~(STATUS_OUTPUT_FULL | STATUS_TIMEOUT);
	update_irq(k);
	return k->s.data;
}

static void data_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->s.status &= ~STATUS_COMMAND;
	data_byte(k, (uint8_t)value);
	update_irq(k);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct i8042 *k = opaque;

	return k->s.status | STATUS_UNLOCKED;
}

static void status_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->s.status |= STATUS_COMMAND;
	command(k, (uint8_t)value);
	update_irq(k);
}

static const struct io_ops data_ops = { .read = data_read, .write = data_write };
static const struct io_ops status_ops = { .read = status_read, .write = status_write };

static void i8042_reset(struct device *dev)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	memset(&k->s, 0, sizeof(k->s));
	/* As firmware leaves it: tested, both ports off, A20 open. */
	k->s.status = STATUS_SYSTEM;
	k->s.config = CONFIG_SYSTEM | CONFIG_KEYBOARD_OFF | CONFIG_AUX_OFF;
	k->s.output = OUTPUT_NO_RESET | OUTPUT_A20;
	update_irq(k);
}

static void i8042_save(struct device *dev, void *state)
{
	memcpy(state, &container_of(dev, struct i8042, dev)->s, sizeof(struct i8042_state));
}

static int i8042_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);
	struct i8042_state s;

	if (version != 1 || size != sizeof(s))
		return -EINVAL;
	memcpy(&s, state, sizeof(s));
	if (s.config & ~CONFIG_BITS)
		return -EINVAL;
	k->s = s;
	update_irq(k);
	return 0;
}

static void i8042_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	emit(opaque, "resets", atomic_load_explicit(&k->resets, memory_order_relaxed));
}

static void i8042_destroy(struct device *dev)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	io_bus_remove(k->pio, &k->data_range);
	io_bus_remove(k->pio, &k->status_range);
	device_fini(dev);
	free(k);
}

static const struct device_ops i8042_ops = {
	.type = "i8042",
	.reset = i8042_reset,
	.state_version = 1,
	.state_size = sizeof(struct i8042_state),
	.save = i8042_save,
	.load = i8042_load,
	.counters = i8042_counters,
	.destroy = i8042_destroy,
};

int i8042_create(const struct i8042_config *config, struct i8042 **out)
{
	struct i8042 *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	device_init(&k->dev, config->id, &i8042_ops);
	k->pio = config->pio;
	k->irq = config->irq;
	k->reset = config->reset;
	k->opaque = config->opaque;
	k->data_range = (struct io_range){
		.name = config->id, .base = PORT_DATA, .size = 1, .ops = &data_ops, .opaque = k,
		.lock = &k->dev.lock,
	};
	k->status_range = (struct io_range){
		.name = config->id, .base = PORT_STATUS, .size = 1, .ops = &status_ops,
		.opaque = k, .lock = &k->dev.lock,
	};
	err = io_bus_add(k->pio, &k->data_range);
	if (!err)
		err = io_bus_add(k->pio, &k->status_range);
	if (err) {
		i8042_destroy(&k->dev);
		return err;
	}
	i8042_reset(&k->dev);
	*out = k;
	return 0;
}

struct device *i8042_device(struct i8042 *k)
{
	return &k->dev;
}
