#include "tests/unit/vswitch/unit.h"
#include "vswitch/forward.h"

#define LEN 64u
#define PORTS 3u

/* A port that yields prepared frames and notes those it is sent. */
struct fake_port {
	struct port port;
	struct rx_queue queue;
	uint8_t out[FRAME_BURST][LEN]; /* to be received by the switch */
	unsigned int out_count;
	struct iovec iov[FRAME_BURST];
	uint8_t in[4 * FRAME_BURST][LEN];
	unsigned int in_count;
	unsigned int batches;
	unsigned int released;
	bool full;
};

static struct fake_port fakes[PORTS];
static struct port_table table;
static struct fdb *fdb;
static struct forward *fwd;
static struct forward_learned learned[64];
static unsigned int learned_count;

static struct fake_port *to_fake(struct port *port)
{
	return container_of(port, struct fake_port, port);
}

static unsigned int fake_receive(struct rx_queue *queue, struct burst *burst)
{
	struct fake_port *fake = to_fake(queue->port);
	struct stats_cell *cell = &queue->port->cells[burst->lcore];
	unsigned int n = fake->out_count;

	for (unsigned int i = 0; i < n; i++)
		unit_frame(&burst->frames[i], &fake->iov[i], fake->out[i], LEN);
	burst->count = n;
	fake->out_count = 0;
	stats_add(&cell->rx_frames, n);
	return n;
}

static void fake_release(struct rx_queue *queue, struct burst *burst)
{
	to_fake(queue->port)->released += burst->count;
}

static void fake_send(struct port *port, struct burst *burst, struct frame *const *frames,
		      unsigned int count)
{
	struct fake_port *fake = to_fake(port);
	struct stats_cell *cell = &port->cells[burst->lcore];

	fake->batches++;
	if (fake->full) {
		stats_drop(cell, DROP_FULL, count);
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		frame_copy(frames[i], fake->in[fake->in_count++]);
	stats_add(&cell->tx_frames, count);
}

static const struct port_ops fake_ops = {
	.type = "fake",
	.receive = fake_receive,
	.release = fake_release,
	.send = fake_send,
};

static void note_learned(void *opaque, const struct forward_learned *entry)
{
	(void)opaque;
	assert_true(learned_count < ARRAY_SIZE(learned));
	learned[learned_count++] = *entry;
}

static int setup(void **state)
{
	struct forward_config config = {.ports = &table, .learn = note_learned};

	(void)state;
	memset(fakes, 0, sizeof(fakes));
	learned_count = 0;
	port_table_init(&table);
	fdb = fdb_create(64, 300);
	config.fdb = fdb;
	fwd = forward_create(&config);
	for (unsigned int i = 0; i < PORTS; i++) {
		struct port *port = &fakes[i].port;

		if (port_init(port, &table, &fake_ops, "fake", 1500, 1) < 0 ||
		    port_table_add(&table, port) < 0)
			return -1;
		fakes[i].queue.port = port;
	}
	return 0;
}

/* The law holds after each test. */
static int teardown(void **state)
{
	struct stats sum = {0};

	(void)state;
	for (unsigned int i = 0; i < PORTS; i++)
		port_fini(&fakes[i].port);
	stats_merge(&sum, &table.retired);
	forward_destroy(fwd);
	fdb_destroy(fdb);
	return stats_imbalance(&sum) == 0 ? 0 : -1;
}

static void offer(unsigned int from, uint8_t dst, uint8_t src, uint8_t tag)
{
	uint8_t *data = fakes[from].out[fakes[from].out_count++];

	memset(data, 0, LEN);
	unit_addresses(data, dst, src);
	data[20] = tag;
}

static void learn_all(void)
{
	for (unsigned int i = 0; i < learned_count; i++)
		fdb_learn(fdb, learned[i].key, learned[i].port);
	learned_count = 0;
}

static uint64_t dropped(unsigned int port, enum drop_reason reason)
{
	return atomic_load(&fakes[port].port.cells[0].drops[reason]);
}

static void unknown_is_flooded_then_known(void **state)
{
	(void)state;
	offer(0, 2, 1, 0);
	assert_int_equal(forward_burst(fwd, &fakes[0].queue), 1);
	assert_int_equal(fakes[0].in_count, 0);
	assert_int_equal(fakes[1].in_count, 1);
	assert_int_equal(fakes[2].in_count, 1);
	assert_int_equal(atomic_load(&fakes[0].port.cells[0].copies), 1);
	assert_int_equal(fakes[0].released, 1);
	assert_int_equal(learned_count, 1);
	assert_int_equal(learned[0].port, fakes[0].port.index);
	learn_all();
	offer(1, 1, 2, 0);
	assert_int_equal(forward_burst(fwd, &fakes[1].queue), 1);
	assert_int_equal(fakes[0].in_count, 1);
	assert_int_equal(fakes[2].in_count, 1);
	assert_int_equal(forward_burst(fwd, &fakes[1].queue), 0);
}

static void batches_keep_the_order(void **state)
{
	(void)state;
	offer(1, 9, 2, 0);
	offer(2, 9, 3, 0);
	forward_burst(fwd, &fakes[1].queue);
	forward_burst(fwd, &fakes[2].queue);
	learn_all();
	fakes[1].in_count = fakes[2].in_count = 0;
	fakes[1].batches = fakes[2].batches = 0;
	for (uint8_t i = 0; i < FRAME_BURST; i++)
		offer(0, i % 3 ? 2 : 3, 1, i);
	assert_int_equal(forward_burst(fwd, &fakes[0].queue), FRAME_BURST);
	assert_int_equal(fakes[1].batches, 1);
	assert_int_equal(fakes[2].batches, 1);
	assert_int_equal(fakes[1].in_count + fakes[2].in_count, FRAME_BURST);
	for (unsigned int p = 1; p < PORTS; p++)
		for (unsigned int i = 1; i < fakes[p].in_count; i++)
			assert_true(fakes[p].in[i][20] > fakes[p].in[i - 1][20]);
	/* A source is told of once, not once a frame. */
	assert_int_equal(learned_count, 1);
}

static void floods_and_unicasts_keep_their_order(void **state)
{
	(void)state;
	offer(1, 9, 2, 0);
	forward_burst(fwd, &fakes[1].queue);
	learn_all();
	fakes[1].in_count = 0;
	for (uint8_t i = 0; i < 8; i++) {
		offer(0, 2, 1, i);
		if (i % 2)
			memset(fakes[0].out[i], 0xff, 6);
	}
	forward_burst(fwd, &fakes[0].queue);
	assert_int_equal(fakes[1].in_count, 8);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(fakes[1].in[i][20], i);
}

static void some_frames_go_nowhere(void **state)
{
	static const uint8_t lldp[6] = {0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e};

	(void)state;
	offer(0, 9, 1, 0);
	forward_burst(fwd, &fakes[0].queue);
	learn_all();
	offer(0, 1, 5, 0);
	offer(0, 9, 1, 0);
	memcpy(fakes[0].out[1], lldp, 6);
	offer(0, 9, 1, 0);
	fakes[0].out[2][6] |= 1;
	fakes[1].in_count = 0;
	assert_int_equal(forward_burst(fwd, &fakes[0].queue), 3);
	assert_int_equal(fakes[1].in_count, 0);
	assert_int_equal(dropped(0, DROP_SAME_PORT), 1);
	assert_int_equal(dropped(0, DROP_RESERVED), 1);
	assert_int_equal(dropped(0, DROP_BAD_SOURCE), 1);
	assert_int_equal(fakes[0].released, 4);
}

static void alone_there_is_no_destination(void **state)
{
	(void)state;
	port_table_remove(&table, &fakes[1].port);
	port_table_remove(&table, &fakes[2].port);
	offer(0, 9, 1, 0);
	forward_burst(fwd, &fakes[0].queue);
	assert_int_equal(dropped(0, DROP_NO_DESTINATION), 1);
}

/* A port gone while the table still has its addresses: they are unknown again. */
static void addresses_of_a_withdrawn_port_are_flooded(void **state)
{
	(void)state;
	offer(2, 9, 3, 0);
	forward_burst(fwd, &fakes[2].queue);
	learn_all();
	port_table_remove(&table, &fakes[2].port);
	fakes[1].in_count = 0;
	offer(0, 3, 1, 0);
	forward_burst(fwd, &fakes[0].queue);
	assert_int_equal(fakes[1].in_count, 1);
	assert_int_equal(fakes[2].in_count, 0);
}

static void a_full_port_slows_nobody(void **state)
{
	(void)state;
	fakes[1].full = true;
	for (uint8_t i = 0; i < FRAME_BURST; i++)
		offer(0, 9, 1, i);
	assert_int_equal(forward_burst(fwd, &fakes[0].queue), FRAME_BURST);
	assert_int_equal(fakes[2].in_count, FRAME_BURST);
	assert_int_equal(dropped(1, DROP_FULL), FRAME_BURST);
	assert_int_equal(fakes[0].released, FRAME_BURST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unknown_is_flooded_then_known, setup, teardown),
		cmocka_unit_test_setup_teardown(batches_keep_the_order, setup, teardown),
		cmocka_unit_test_setup_teardown(floods_and_unicasts_keep_their_order, setup,
						teardown),
		cmocka_unit_test_setup_teardown(some_frames_go_nowhere, setup, teardown),
		cmocka_unit_test_setup_teardown(alone_there_is_no_destination, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses_of_a_withdrawn_port_are_flooded, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_full_port_slows_nobody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
