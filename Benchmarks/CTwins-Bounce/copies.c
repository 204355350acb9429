// SPDX-License-Identifier: Apache-2.0
#include "CTwinsBounce.h"

#include <string.h>

// The compiler must not see that only the last copy counts.
static inline void copied(const void *bytes) { __asm__ volatile("" ::"r"(bytes) : "memory"); }

uint64_t twin_copy_to_device(uint8_t *target, const uint8_t *source, size_t byte_count, uint32_t buffer_count,
                             uint32_t count) {
  uint64_t sum = 0;
  uint32_t buffer = 0;
  for (uint32_t index = 0; index != count; index++) {
    memcpy(target, source + buffer * byte_count, byte_count);
    copied(target);
    sum += target[byte_count - 1];
    if (++buffer == buffer_count) buffer = 0;
  }
  return sum;
}

uint64_t twin_copy_from_device(uint8_t *target, const uint8_t *source, size_t byte_count, uint32_t buffer_count,
                               uint32_t count) {
  uint64_t sum = 0;
  uint32_t buffer = 0;
  for (uint32_t index = 0; index != count; index++) {
    memcpy(target + buffer * byte_count, source, byte_count);
    copied(target);
    sum += target[buffer * byte_count + byte_count - 1];
    if (++buffer == buffer_count) buffer = 0;
  }
  return sum;
}
