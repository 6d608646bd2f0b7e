/*
 * A virtio header and a frame as a hostile peer may send them: one byte says what was negotiated,
 * 10 are the header, the rest is the frame. What passes the check is finished; what comes out must
 * be no longer than what went in, as many as announced, and need nothing more.
 */
#include <assert.h>
#include <stdlib.h>

#include "vswitch/flow_hash.h"
#include "vswitch/offload.h"

struct outcome {
	int count;
	uint32_t longest;
};

static void collect(void *opaque, struct frame *const *frames, unsigned int count)
{
	struct outcome *outcome = opaque;
	static uint8_t sink[FRAME_MAX];

	assert(count > 0 && count <= FRAME_BURST);
	for (unsigned int i = 0; i < count; i++) {
		assert(offload_needs(&frames[i]->hdr) == 0);
		assert(frames[i]->len >= FRAME_MIN && frames[i]->len <= FRAME_MAX);
		frame_copy(frames[i], sink);
		outcome->longest = MAX(outcome->longest, frames[i]->len);
		outcome->count++;
	}
}

static void try_frame(const struct virtio_net_hdr *hdr, unsigned int allowed, uint8_t *data,
		      uint32_t len)
{
	static struct offload_scratch scratch;
	struct outcome outcome = {0};
	/* In two pieces, the cut depending on the input. */
	uint32_t cut = data[0] % len;
	struct iovec iov[2] = {{data, cut}, {data + cut, len - cut}};
	struct frame frame = {.iov = iov, .iov_count = 2, .hdr = *hdr};
	int made;

	if (!offload_check(&frame.hdr, len, allowed))
		return;
	assert((offload_needs(&frame.hdr) & ~allowed) == 0);
	frame_fetch_head(&frame, len);
	flow_hash(&frame);
	if (!offload_needs(&frame.hdr))
		return;
	made = offload_finish(&frame, &scratch, collect, &outcome);
	assert(made < 0 ? outcome.count == 0 : outcome.count == made);
	assert(outcome.longest <= len);
	assert(made <= (int)OFFLOAD_MAX_SEGMENTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct virtio_net_hdr hdr;
	uint8_t *data;

	if (size < 1 + sizeof(hdr) + FRAME_MIN || size > 1 + sizeof(hdr) + FRAME_MAX)
		return 0;
	memcpy(&hdr, input + 1, sizeof(hdr));
	size -= 1 + sizeof(hdr);
	/* A copy of its own size, so that the sanitizer sees its end. */
	data = malloc(size);
	if (!data)
		return 0;
	memcpy(data, input + 1 + sizeof(hdr), size);
	try_frame(&hdr, input[0] & 0xf, data, (uint32_t)size);
	free(data);
	return 0;
}
