#include "vswitch/stats.h"

static const char *const drop_names[DROP_REASONS] = {
	[DROP_BAD_FRAME] = "bad-frame",
	[DROP_BAD_OFFLOAD] = "bad-offload",
	[DROP_TOO_LONG] = "too-long",
	[DROP_BAD_SOURCE] = "bad-source",
	[DROP_RESERVED] = "reserved-address",
	[DROP_SAME_PORT] = "same-port",
	[DROP_NO_DESTINATION] = "no-destination",
	[DROP_DOWN] = "down",
	[DROP_FULL] = "full",
	[DROP_OVERSIZE] = "oversize",
	[DROP_FAULT] = "fault",
	[DROP_NO_MEMORY] = "no-memory",
	[DROP_UNSEGMENTABLE] = "unsegmentable",
};

const char *stats_drop_name(enum drop_reason reason)
{
	return drop_names[reason];
}

static uint64_t stats_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void stats_collect(struct stats *sum, const struct stats_cell *cell)
{
	sum->rx_frames += stats_read(&cell->rx_frames);
	sum->rx_bytes += stats_read(&cell->rx_bytes);
	sum->tx_frames += stats_read(&cell->tx_frames);
	sum->tx_bytes += stats_read(&cell->tx_bytes);
	sum->copies += stats_read(&cell->copies);
	for (unsigned int i = 0; i < DROP_REASONS; i++)
		sum->drops[i] += stats_read(&cell->drops[i]);
}

void stats_merge(struct stats *sum, const struct stats *more)
{
	sum->rx_frames += more->rx_frames;
	sum->rx_bytes += more->rx_bytes;
	sum->tx_frames += more->tx_frames;
	sum->tx_bytes += more->tx_bytes;
	sum->copies += more->copies;
	sum->queued += more->queued;
	for (unsigned int i = 0; i < DROP_REASONS; i++)
		sum->drops[i] += more->drops[i];
}

uint64_t stats_drop_total(const struct stats *sum)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < DROP_REASONS; i++)
		total += sum->drops[i];
	return total;
}

int64_t stats_imbalance(const struct stats *sum)
{
	return (int64_t)(sum->rx_frames + sum->copies - sum->tx_frames - stats_drop_total(sum) -
			 sum->queued);
}
