// SPDX-License-Identifier: Apache-2.0
// The device side of a split and of a packed ring, as a C programmer would write it: what Virtqueues is measured against.
// Each loop plays the driver with one store, takes a chain of 3 descriptors, adds up its pieces and completes it, `count`
// times, and returns the sum. There are two of each: one checks what the Swift type checks, the other checks nothing.
#pragma once
#include <stdint.h>

/// The rings are the caller's; a queue keeps where it is.
struct twin_split;
/// `size` is a power of two. NULL without memory.
struct twin_split *twin_split_new(void *descriptors, void *available, void *used, uint32_t size);
void twin_split_delete(struct twin_split *queue);
uint64_t twin_split_take(struct twin_split *queue, uint32_t count);
uint64_t twin_split_take_unchecked(struct twin_split *queue, uint32_t count);
/// The same, and each used chain is published.
uint64_t twin_split_serve(struct twin_split *queue, uint32_t count);
uint64_t twin_split_serve_unchecked(struct twin_split *queue, uint32_t count);

struct twin_packed;
struct twin_packed *twin_packed_new(void *descriptors, void *driver_event, uint32_t size);
void twin_packed_delete(struct twin_packed *queue);
uint64_t twin_packed_serve(struct twin_packed *queue, uint32_t count);
uint64_t twin_packed_serve_unchecked(struct twin_packed *queue, uint32_t count);
