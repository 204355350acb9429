// SPDX-License-Identifier: Apache-2.0
// The hot loops once more, as a C programmer would write them: what Swift is measured against. Each loop does
// `count` operations and returns the sum of what it read. There are two of each: one checks every access as
// the Swift type does, the other checks nothing.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// A window of registers, as MappedWindow: a checked access past its end traps.
struct twin_window {
  uint8_t *base;
  size_t byte_count;
};
/// 8 writes and 8 reads of 8 registers.
uint64_t twin_registers_eight(struct twin_window window, uint32_t count);
uint64_t twin_registers_eight_unchecked(struct twin_window window, uint32_t count);
/// 1 write and 1 read.
uint64_t twin_registers_one(struct twin_window window, uint32_t count);
uint64_t twin_registers_one_unchecked(struct twin_window window, uint32_t count);

/// Memory shared with a device, as DMAMemory: a checked access past its end, or unaligned, traps.
struct twin_memory {
  uint8_t *base;
  int64_t byte_count;
};
/// 8 stores and 8 loads at constant places.
uint64_t twin_memory_eight(struct twin_memory memory, uint32_t count);
uint64_t twin_memory_eight_unchecked(struct twin_memory memory, uint32_t count);
/// One ring entry: two words, a flag that is released, and the flag acquired again.
uint64_t twin_memory_ring(struct twin_memory memory, uint32_t count);
uint64_t twin_memory_ring_unchecked(struct twin_memory memory, uint32_t count);

/// Marks for the profiler: it counts from the entry of the first to the entry of the second.
void twin_measurement_begins(void);
void twin_measurement_ends(void);
