/* cmocka with what it needs, and frames for the tests of the switch. */
#ifndef TESTS_UNIT_VSWITCH_UNIT_H
#define TESTS_UNIT_VSWITCH_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vswitch/frame.h"

/* A frame over one buffer; iov is the caller's. */
static inline void unit_frame(struct frame *frame, struct iovec *iov, void *data, uint32_t len)
{
	memset(frame, 0, sizeof(*frame));
	*iov = (struct iovec){.iov_base = data, .iov_len = len};
	frame->iov = iov;
	frame->iov_count = 1;
	frame_fetch_head(frame, len);
}

static inline void unit_addresses(uint8_t *data, uint8_t dst, uint8_t src)
{
	static const uint8_t local[5] = {0x02};

	memcpy(data, local, 5);
	data[5] = dst;
	memcpy(data + 6, local, 5);
	data[11] = src;
}

#endif
