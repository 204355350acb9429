// SPDX-License-Identifier: Apache-2.0
#include <stdbool.h>

#include "CTwins.h"

// `checked` is a constant in every use, so each loop is compiled twice.
#define TWIN static inline __attribute__((always_inline))

TWIN void check_place(struct twin_memory memory, bool checked, int64_t offset, int64_t width) {
  if (!checked) return;
  if (offset < 0 || offset > memory.byte_count - width || (offset & (width - 1)) != 0) __builtin_trap();
}

#define ACCESSORS(width, type)                                                                     \
  TWIN type load##width(struct twin_memory memory, bool checked, int64_t offset) {                 \
    check_place(memory, checked, offset, sizeof(type));                                            \
    return *(const volatile type *)(memory.base + offset);                                         \
  }                                                                                                \
  TWIN void store##width(struct twin_memory memory, bool checked, int64_t offset, type value) {    \
    check_place(memory, checked, offset, sizeof(type));                                            \
    *(volatile type *)(memory.base + offset) = value;                                              \
  }
ACCESSORS(16, uint16_t)
ACCESSORS(32, uint32_t)
ACCESSORS(64, uint64_t)

TWIN uint64_t eight(struct twin_memory memory, bool checked, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    store64(memory, checked, 0, index);
    store64(memory, checked, 8, index);
    store32(memory, checked, 16, index);
    store32(memory, checked, 20, index);
    store16(memory, checked, 24, (uint16_t)index);
    store16(memory, checked, 26, (uint16_t)index);
    store64(memory, checked, 32, index);
    store32(memory, checked, 40, index);
    sum += load64(memory, checked, 0);
    sum += load64(memory, checked, 8);
    sum += load32(memory, checked, 16);
    sum += load32(memory, checked, 20);
    sum += load16(memory, checked, 24);
    sum += load16(memory, checked, 26);
    sum += load64(memory, checked, 32);
    sum += load32(memory, checked, 40);
  }
  return sum;
}

// What DMAOrdering's barriers are on this machine.
#if defined(__aarch64__)
#define WRITE_BARRIER() __asm__ volatile("dmb oshst" ::: "memory")
#define READ_BARRIER() __asm__ volatile("dmb oshld" ::: "memory")
#else
#define WRITE_BARRIER() __asm__ volatile("" ::: "memory")
#define READ_BARRIER() __asm__ volatile("" ::: "memory")
#endif

TWIN uint64_t ring(struct twin_memory memory, bool checked, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    int64_t entry = (int64_t)(index & 255) << 4;
    store64(memory, checked, entry, index);
    store32(memory, checked, entry + 8, index);
    WRITE_BARRIER();
    store16(memory, checked, entry + 12, (uint16_t)index);
    sum += load16(memory, checked, entry + 12);
    READ_BARRIER();
  }
  return sum;
}

uint64_t twin_memory_eight(struct twin_memory memory, uint32_t count) { return eight(memory, true, count); }
uint64_t twin_memory_eight_unchecked(struct twin_memory memory, uint32_t count) { return eight(memory, false, count); }
uint64_t twin_memory_ring(struct twin_memory memory, uint32_t count) { return ring(memory, true, count); }
uint64_t twin_memory_ring_unchecked(struct twin_memory memory, uint32_t count) { return ring(memory, false, count); }
