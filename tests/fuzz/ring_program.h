/*
 * A hostile driver on one virtqueue of a real function: the input is a program that writes
 * descriptors, tables, indexes and raw bytes into guest memory, has the device look, writes its
 * registers and has the machine pause, save, load and reset it. The oracle watches each turn; at the
 * end the device is reset and must serve.
 */
#ifndef TESTS_FUZZ_RING_PROGRAM_H
#define TESTS_FUZZ_RING_PROGRAM_H

#include "tests/fakes/oracle.h"
#include "tests/fuzz/input.h"
#include "tests/unit/vhost-user/virtio_rig.h"

#define RING_MEMORY	(128 * KIB) /* the upper half is for the honest driver at the end */
#define RING_DESC	0x1000u
#define RING_AVAIL	0x2000u
#define RING_USED	0x3000u
#define RING_TABLE	0x5000u
#define RING_HEADERS	0x6000u
#define RING_DATA	0x8000u
#define RING_OPERATIONS 300u

struct ring_program;

/* What a target says about its device. */
struct ring_subject {
	struct pci_device *(*create)(struct ring_program *p);
	/* The queue that the program drives, with these features. */
	unsigned int (*queue)(uint64_t features);
	/* Operations of its own: the world behind the device, or a well-formed request. */
	void (*special)(struct ring_program *p, struct input *in);
	/* Whether transfers are under way that may write later. NULL: never. */
	bool (*busy)(struct ring_program *p);
	void (*finish)(struct ring_program *p); /* completes them; may be NULL */
	/* One honest request over a fresh ring; features: all that are offered. */
	bool (*serves)(struct ring_program *p, struct vring_driver *vd);
};

struct ring_program {
	const struct ring_subject *subject;
	struct virtio_rig rig;
	struct oracle oracle;
	void *opaque; /* the subject's */
};

/* Runs one input. */
void ring_program_run(const struct ring_subject *subject, void *opaque, const uint8_t *data,
		      size_t size);

/* For special: writes a descriptor, makes a head available. */
void ring_program_desc(struct ring_program *p, unsigned int index, uint64_t addr, uint32_t len,
		       uint16_t flags, uint16_t next);
void ring_program_push(struct ring_program *p, uint16_t head);
/* Has the device, and whatever is ready, its turn; checked. */
void ring_program_turn(struct ring_program *p);

#endif
