/*
 * A fuzz target's input as a program: operations, each a byte and its arguments. What is missing at
 * the end reads as zero.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include "core/bits.h"

struct input {
	const uint8_t *data;
	size_t left;
};

/* Little-endian, at most 8 bytes. */
static inline uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t value = 0;

	if (in->left < bytes) {
		in->left = 0;
		return 0;
	}
	memcpy(&value, in->data, bytes);
	in->data += bytes;
	in->left -= bytes;
	return value;
}

/* The next *len bytes, or as many as there are: then *len says how many. */
static inline const uint8_t *take_bytes(struct input *in, size_t *len)
{
	const uint8_t *bytes = in->data;

	*len = MIN(*len, in->left);
	in->data += *len;
	in->left -= *len;
	return bytes;
}

#endif
