/*
 * The hash of a frame's flow, which chooses the queue of a multi-queue port: equal for all frames
 * of one connection direction, so that they stay in order. Reads only the frame's head. Pure.
 */
#ifndef VSWITCH_FLOW_HASH_H
#define VSWITCH_FLOW_HASH_H

#include "vswitch/frame.h"

/* IP addresses, protocol and ports where the frame has them; else the MAC addresses. */
uint32_t flow_hash(const struct frame *frame);

#endif
