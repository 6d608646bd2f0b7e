/*
 * Counts what an Ethernet between two guests does to frames. Both sides run this program at the
 * same time; each sends COUNT sequence-numbered frames to the other, checks those it gets, and
 * prints one line of JSON.
 *
 * The sender keeps at most a window of frames unacknowledged, so that a correct switch with rings
 * larger than the window has no reason to lose any: whatever is missing was lost by what lies
 * between, or by our own socket, which PACKET_STATISTICS tells apart. Every frame carries
 * how many its sender has received so far, hence acknowledgements ride on data. A window that does not
 * move for STALL_MS is taken as lost, and sending goes on.
 *
 * Exit status: 0 all frames came both ways, intact and once; 1 not so; 2 usage or system error;
 * 3 no peer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ETHERTYPE 0x88b5 /* IEEE 802, local experimental 1 */
#define MAGIC 0x66726d31u
#define FRAME_MAX 9014
#define BATCH 32
#define ACK_EVERY 16
#define STALL_MS 2000
#define TELL_MS 50
#define LINGER_MS 500
#define COUNT_MAX 100000000ul

enum frame_kind { KIND_TELL = 1, KIND_DATA = 2 };

enum frame_flag {
	FLAG_ALL_SENT = 1, /* sent is final */
	FLAG_ALL_HEARD = 2, /* received is final */
};

struct frame {
	struct ether_header eth;
	uint32_t magic;
	uint16_t kind;
	uint16_t flags;
	uint32_t seq;
	uint32_t sent;
	uint32_t received;
	uint8_t payload[];
} __attribute__((packed));

struct options {
	const char *interface;
	uint8_t peer[ETH_ALEN];
	uint32_t count;
	uint32_t size_min, size_max;
	uint32_t window;
	uint32_t timeout_s;
};

struct run {
	int fd;
	uint8_t self[ETH_ALEN];
	uint32_t sent;
	uint32_t received, duplicated, reordered, corrupted, foreign;
	uint32_t told; /* value of received the peer was last told */
	uint32_t highest; /* highest sequence number seen, plus one */
	uint8_t *seen; /* one bit per sequence number */
	uint32_t written_off; /* unacknowledged frames no longer counted against the window */
	uint32_t stalls, ring_full, socket_drops;
	bool peer_seen, peer_all_sent, peer_all_heard;
	uint32_t peer_sent, peer_received;
	uint64_t last_progress_ms, last_told_ms;
	uint64_t last_data_ms; /* last sign that data may still come */
	uint64_t first_ms, last_ms; /* first and last frame counted */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* What frame `seq` carries: a window, sliding with seq, on bytes without a short period. */
static const uint8_t *payload_of(uint32_t seq)
{
	static uint8_t bytes[FRAME_MAX + 251];

	if (bytes[1] == 0) {
		uint32_t x = 1;

		for (size_t i = 0; i < sizeof(bytes); i++, x = x * 1664525u + 1013904223u)
			bytes[i] = (uint8_t)(x >> 24 | 1);
	}
	return bytes + seq % 251;
}

static uint32_t frame_size(const struct options *opt, uint32_t seq)
{
	return opt->size_min + seq * 37u % (opt->size_max - opt->size_min + 1);
}

static uint16_t run_flags(const struct options *opt, const struct run *run)
{
	bool silence = run->peer_all_sent &&
		       (run->received == run->peer_sent ||
			now_ms() - run->last_data_ms > STALL_MS);

	return (uint16_t)((run->sent == opt->count ? FLAG_ALL_SENT : 0) |
			  (silence ? FLAG_ALL_HEARD : 0));
}

static size_t frame_build(struct frame *frame, const struct options *opt, const struct run *run,
			  enum frame_kind kind, uint32_t seq)
{
	uint32_t size = kind == KIND_DATA ? frame_size(opt, seq) : ETH_ZLEN;

	memcpy(frame->eth.ether_dhost, opt->peer, ETH_ALEN);
	memcpy(frame->eth.ether_shost, run->self, ETH_ALEN);
	frame->eth.ether_type = htons(ETHERTYPE);
	frame->magic = htonl(MAGIC);
	frame->kind = htons(kind);
	frame->flags = htons(run_flags(opt, run));
	frame->seq = htonl(seq);
	frame->sent = htonl(run->sent);
	frame->received = htonl(run->received);
	memcpy(frame->payload, payload_of(seq), size - sizeof(*frame));
	return size;
}

/* A short frame without data: tells the peer our counts. */
static void run_tell(const struct options *opt, struct run *run)
{
	union {
		struct frame frame;
		uint8_t bytes[ETH_ZLEN];
	} buf;
	size_t size = frame_build(&buf.frame, opt, run, KIND_TELL, 0);

	run->last_told_ms = now_ms();
	if (send(run->fd, &buf, size, MSG_DONTWAIT) == (ssize_t)size)
		run->told = run->received;
}

/* Send what the window allows, at most one batch. Returns the number of frames taken. */
static int run_send(const struct options *opt, struct run *run)
{
	static uint8_t bufs[BATCH][FRAME_MAX] __attribute__((aligned(8)));
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iovs[BATCH];
	uint32_t unacked = run->sent - run->peer_received - run->written_off;
	uint32_t room = unacked < opt->window ? opt->window - unacked : 0;
	uint32_t n = opt->count - run->sent;
	int taken;

	if (n > room)
		n = room;
	if (n > BATCH)
		n = BATCH;
	if (n == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		struct frame *frame = (struct frame *)bufs[i];

		iovs[i].iov_base = frame;
		iovs[i].iov_len = frame_build(frame, opt, run, KIND_DATA, run->sent + i);
		msgs[i].msg_hdr.msg_iov = &iovs[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	taken = sendmmsg(run->fd, msgs, n, MSG_DONTWAIT);
	if (taken > 0) {
		run->sent += (uint32_t)taken;
		run->told = run->received;
	}
	if (taken < (int)n)
		run->ring_full++;
	return taken;
}

static void run_count(const struct options *opt, struct run *run, const struct frame *frame,
		      size_t size)
{
	uint32_t seq = ntohl(frame->seq);

	if (seq >= COUNT_MAX || size != frame_size(opt, seq) ||
	    memcmp(frame->payload, payload_of(seq), size - sizeof(*frame)) != 0) {
		run->corrupted++;
		return;
	}
	if (run->seen[seq / 8] & 1u << seq % 8) {
		run->duplicated++;
		return;
	}
	run->seen[seq / 8] |= (uint8_t)(1u << seq % 8);
	run->received++;
	if (seq < run->highest)
		run->reordered++;
	else
		run->highest = seq + 1;
	run->last_ms = now_ms();
	if (run->first_ms == 0)
		run->first_ms = run->last_ms;
}

static void run_take(const struct options *opt, struct run *run, const struct frame *frame,
		     size_t size)
{
	uint32_t peer_received = ntohl(frame->received);
	uint16_t flags = ntohs(frame->flags);

	if (size < sizeof(*frame) || ntohl(frame->magic) != MAGIC ||
	    memcmp(frame->eth.ether_shost, opt->peer, ETH_ALEN) != 0 ||
	    memcmp(frame->eth.ether_dhost, run->self, ETH_ALEN) != 0) {
		run->foreign++;
		return;
	}
	run->peer_seen = true;
	if (peer_received > run->peer_received) {
		run->peer_received = peer_received;
		run->last_progress_ms = now_ms();
		/* A frame given up for lost that came after all is not unacknowledged. */
		if (run->written_off > run->sent - run->peer_received)
			run->written_off = run->sent - run->peer_received;
	}
	run->peer_sent = ntohl(frame->sent);
	if (ntohs(frame->kind) == KIND_DATA || !run->peer_all_sent)
		run->last_data_ms = now_ms();
	run->peer_all_sent |= !!(flags & FLAG_ALL_SENT);
	run->peer_all_heard |= !!(flags & FLAG_ALL_HEARD);
	if (ntohs(frame->kind) == KIND_DATA)
		run_count(opt, run, frame, size);
}

static int run_receive(const struct options *opt, struct run *run)
{
	static uint8_t bufs[BATCH][FRAME_MAX] __attribute__((aligned(8)));
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iovs[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		iovs[i].iov_base = bufs[i];
		iovs[i].iov_len = FRAME_MAX;
		msgs[i].msg_hdr.msg_iov = &iovs[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(run->fd, msgs, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		run_take(opt, run, (const struct frame *)bufs[i], msgs[i].msg_len);
	return n;
}

/* A window that stands still holds lost frames: write them off and go on. */
static void run_check_stall(struct run *run)
{
	uint32_t unacked = run->sent - run->peer_received;

	if (unacked > run->written_off && now_ms() - run->last_progress_ms > STALL_MS) {
		run->stalls++;
		run->written_off = unacked;
		run->last_progress_ms = now_ms();
	}
}

/* Runs until both sides have sent all and heard all, or the time is up. False without a peer. */
static bool run_loop(const struct options *opt, struct run *run)
{
	uint64_t deadline = now_ms() + (uint64_t)opt->timeout_s * 1000, linger = 0;

	while (now_ms() < deadline && (linger == 0 || now_ms() < linger)) {
		struct pollfd pfd = { .fd = run->fd, .events = POLLIN };
		int got = run_receive(opt, run);
		int put = run->peer_seen ? run_send(opt, run) : 0;

		if (run->received - run->told >= ACK_EVERY ||
		    now_ms() - run->last_told_ms >= TELL_MS)
			run_tell(opt, run);
		run_check_stall(run);
		if (linger == 0 && run->peer_all_heard &&
		    run_flags(opt, run) == (FLAG_ALL_SENT | FLAG_ALL_HEARD))
			linger = now_ms() + LINGER_MS;
		if (got <= 0 && put <= 0)
			poll(&pfd, 1, put < 0 ? 1 : 10);
	}
	return run->peer_seen;
}

static int run_open(const struct options *opt, struct run *run)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE) };
	struct ifreq ifr = { 0 };
	int on = 1, space = 64 << 20;

	run->seen = calloc(COUNT_MAX / 8 + 1, 1);
	if (!run->seen)
		return -ENOMEM;
	/* Protocol 0 hears nothing until bound: no frame of another interface slips in. */
	run->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (run->fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", opt->interface);
	if (ioctl(run->fd, SIOCGIFHWADDR, &ifr) < 0)
		return -errno;
	memcpy(run->self, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	addr.sll_ifindex = (int)if_nametoindex(opt->interface);
	if (setsockopt(run->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
	    setsockopt(run->fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof(space)) < 0 ||
	    bind(run->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	run->last_data_ms = run->last_progress_ms = now_ms();
	return 0;
}

static int run_report(const struct options *opt, struct run *run)
{
	struct tpacket_stats stats = { 0 };
	socklen_t len = sizeof(stats);
	uint32_t lost = run->peer_sent - run->received;
	uint32_t peer_lost = run->sent - run->peer_received;
	bool whole = run->sent == opt->count && run->peer_all_sent && run->peer_all_heard;
	bool good = whole && lost == 0 && peer_lost == 0 && run->duplicated == 0 &&
		    run->reordered == 0 && run->corrupted == 0;

	if (getsockopt(run->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
		run->socket_drops = stats.tp_drops;
	printf("{\"ok\": %s, \"finished\": %s, \"sent\": %u, \"peer_sent\": %u, \"received\": %u, "
	       "\"lost\": %u, \"peer_lost\": %u, \"duplicated\": %u, \"reordered\": %u, "
	       "\"corrupted\": %u, \"foreign\": %u, \"socket_drops\": %u, \"ring_full\": %u, "
	       "\"stalls\": %u, \"milliseconds\": %llu}\n",
	       good ? "true" : "false", whole ? "true" : "false", run->sent, run->peer_sent,
	       run->received, lost, peer_lost, run->duplicated, run->reordered, run->corrupted,
	       run->foreign, run->socket_drops, run->ring_full, run->stalls,
	       (unsigned long long)(run->last_ms - run->first_ms));
	return good ? 0 : 1;
}

static void usage(FILE *out)
{
	fprintf(out, "usage: frames [-s SIZE[-MAX]] [-w WINDOW] [-t SECONDS] INTERFACE PEER-MAC COUNT\n"
		     "  -s  bytes of a frame without FCS, or a range to go through (60-1514)\n"
		     "  -w  frames sent but not acknowledged, at most (64)\n"
		     "  -t  give up after so many seconds (300)\n");
}

static bool options_parse(struct options *opt, int argc, char **argv)
{
	uint8_t *m = opt->peer;
	int c;

	*opt = (struct options){
		.size_min = 60, .size_max = 1514, .window = 64, .timeout_s = 300
	};
	while ((c = getopt(argc, argv, "s:w:t:")) != -1) {
		if (c == 's') {
			if (sscanf(optarg, "%u-%u", &opt->size_min, &opt->size_max) == 1)
				opt->size_max = opt->size_min;
		} else if (c == 'w') {
			opt->window = (uint32_t)strtoul(optarg, NULL, 0);
		} else if (c == 't') {
			opt->timeout_s = (uint32_t)strtoul(optarg, NULL, 0);
		} else {
			return false;
		}
	}
	if (argc - optind != 3)
		return false;
	opt->interface = argv[optind];
	opt->count = (uint32_t)strtoul(argv[optind + 2], NULL, 0);
	return sscanf(argv[optind + 1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3,
		      m + 4, m + 5) == 6 &&
	       opt->count > 0 && opt->count < COUNT_MAX && opt->size_min >= ETH_ZLEN &&
	       opt->size_max >= opt->size_min && opt->size_max <= FRAME_MAX && opt->window > 0;
}

int main(int argc, char **argv)
{
	struct options opt;
	struct run run = { 0 };
	int ret;

	if (!options_parse(&opt, argc, argv)) {
		usage(stderr);
		return 2;
	}
	ret = run_open(&opt, &run);
	if (ret < 0) {
		fprintf(stderr, "frames: %s: %s\n", opt.interface, strerror(-ret));
		return 2;
	}
	if (!run_loop(&opt, &run)) {
		fprintf(stderr, "frames: no peer heard in %u s\n", opt.timeout_s);
		return 3;
	}
	return run_report(&opt, &run);
}
