// SPDX-License-Identifier: Apache-2.0
// What both formats share.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define TWIN static inline __attribute__((always_inline))
#define READ(type, address) (*(const volatile type *)(address))
#define WRITE(type, address, value) (*(volatile type *)(address) = (value))
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")
#if defined(__x86_64__)
#define FULL_BARRIER() __asm__ volatile("mfence" ::: "memory")
#else
#define FULL_BARRIER() __asm__ volatile("dmb osh" ::: "memory")
#endif

enum { desc_next = 1, desc_write = 2, desc_indirect = 4 };
enum twin_code {
  twin_ok, twin_too_far, twin_head_range, twin_in_flight, twin_next_range, twin_loop, twin_segments, twin_zero,
  twin_overflow, twin_bytes, twin_order, twin_indirect, twin_id_range
};

struct twin_error {
  uint8_t code;
  uint16_t index;
  uint64_t value;
};

struct twin_segment {
  uint64_t address;
  uint32_t byte_count;
  bool is_writable;
};

struct twin_chain {
  uint16_t id, slot_count, segment_count, readable_segment_count;
  uint32_t readable_byte_count, writable_byte_count;
};

/// The pieces of one chain, as they are found.
struct twin_walk {
  struct twin_segment *segments;
  uint32_t limit, count, readable_count;
  uint64_t byte_count, readable_byte_count;
};

static __attribute__((noinline, cold)) bool twin_fail(struct twin_error *error, enum twin_code code, uint32_t index, uint64_t value) {
  *error = (struct twin_error){.code = (uint8_t)code, .index = (uint16_t)index, .value = value};
  return false;
}

TWIN bool twin_append(
  struct twin_walk *walk, struct twin_error *error, uint64_t address, uint32_t length, bool is_writable, uint32_t index,
  bool checks
) {
  uint64_t last;
  if (checks && length == 0) return twin_fail(error, twin_zero, index, address);
  if (checks && __builtin_add_overflow(address, (uint64_t)length - 1, &last))
    return twin_fail(error, twin_overflow, index, address);
  if (checks && walk->count >= walk->limit) return twin_fail(error, twin_segments, index, walk->limit);
  if (!is_writable) {
    if (checks && walk->readable_count != walk->count) return twin_fail(error, twin_order, index, address);
    walk->readable_count++;
    walk->readable_byte_count += length;
  }
  walk->byte_count += length;
  walk->segments[walk->count++] = (struct twin_segment){address, length, is_writable};
  return true;
}

TWIN bool twin_finish(
  const struct twin_walk *walk, struct twin_error *error, struct twin_chain *chain, uint32_t id, uint32_t slot_count, bool checks
) {
  if (checks && walk->byte_count > UINT32_MAX) return twin_fail(error, twin_bytes, id, walk->byte_count);
  *chain = (struct twin_chain){
    .id = (uint16_t)id,
    .slot_count = (uint16_t)slot_count,
    .segment_count = (uint16_t)walk->count,
    .readable_segment_count = (uint16_t)walk->readable_count,
    .readable_byte_count = (uint32_t)walk->readable_byte_count,
    .writable_byte_count = (uint32_t)(walk->byte_count - walk->readable_byte_count),
  };
  return true;
}
