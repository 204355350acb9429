// SPDX-License-Identifier: Apache-2.0
// Looking device addresses up, as a C programmer would write it. Each loop does `count` lookups of 4 KiB to write, each
// 12 KiB after the one before and around within `mask`, and returns the sum of the pointers that it got, or 0 where one was
// missing.
#pragma once
#include <stdint.h>

struct twin_line {
  uint64_t start, last;
  /// What is added to an address, and gives a pointer.
  uintptr_t displacement;
  /// 1: the device may read; 2: it may write.
  uint64_t access;
};

uint64_t twin_iotlb_find(const struct twin_line *line, uint64_t first, uint64_t mask, uint32_t count);
uint64_t twin_iotlb_find_unchecked(const struct twin_line *line, uint64_t first, uint64_t mask, uint32_t count);
