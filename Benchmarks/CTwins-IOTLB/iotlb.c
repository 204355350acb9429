// SPDX-License-Identifier: Apache-2.0
#include "CTwinsIOTLB.h"

#include <stddef.h>

static inline void *find(const struct twin_line *line, uint64_t address, uint64_t byte_count) {
  uint64_t offset = address - line->start, room = line->last - line->start;
  if (offset > room || byte_count - 1 > room - offset || !(line->access & 2)) return NULL;
  return (void *)(line->displacement + address);
}

uint64_t twin_iotlb_find(const struct twin_line *line, uint64_t first, uint64_t mask, uint32_t count) {
  uint64_t sum = 0, offset = 0;
  for (uint32_t index = 0; index != count; index++) {
    void *bytes = find(line, first + offset, 4096);
    if (bytes == NULL) return 0;
    sum += (uintptr_t)bytes;
    offset = (offset + 12288) & mask;
  }
  return sum;
}

uint64_t twin_iotlb_find_unchecked(const struct twin_line *line, uint64_t first, uint64_t mask, uint32_t count) {
  uint64_t sum = 0, offset = 0;
  for (uint32_t index = 0; index != count; index++) {
    sum += line->displacement + first + offset;
    offset = (offset + 12288) & mask;
    // Otherwise the compiler does several at once.
    __asm__ volatile("" : "+r"(offset));
  }
  return sum;
}
