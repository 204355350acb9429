// SPDX-License-Identifier: Apache-2.0
#include <stdbool.h>

#include "CTwins.h"

// `checked` is a constant in every use, so each loop is compiled twice.
#define TWIN static inline __attribute__((always_inline))

TWIN uint32_t read32(struct twin_window window, bool checked, size_t offset) {
  if (checked && offset > window.byte_count - sizeof(uint32_t)) __builtin_trap();
  return *(const volatile uint32_t *)(window.base + offset);
}

TWIN void write32(struct twin_window window, bool checked, size_t offset, uint32_t value) {
  if (checked && offset > window.byte_count - sizeof(uint32_t)) __builtin_trap();
  *(volatile uint32_t *)(window.base + offset) = value;
}

// The registers of StandRegisters.
enum { A = 0x00, B = 0x04, C = 0x08, D = 0x20, E = 0x24, F = 0x60, G = 0x64, H = 0x80 };

TWIN uint64_t eight(struct twin_window window, bool checked, uint32_t count) {
  uint32_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    write32(window, checked, A, index);
    write32(window, checked, B, index);
    write32(window, checked, C, index);
    write32(window, checked, D, index);
    write32(window, checked, E, index);
    write32(window, checked, F, index);
    write32(window, checked, G, index);
    write32(window, checked, H, index);
    sum += read32(window, checked, A);
    sum += read32(window, checked, B);
    sum += read32(window, checked, C);
    sum += read32(window, checked, D);
    sum += read32(window, checked, E);
    sum += read32(window, checked, F);
    sum += read32(window, checked, G);
    sum += read32(window, checked, H);
  }
  return sum;
}

TWIN uint64_t one(struct twin_window window, bool checked, uint32_t count) {
  uint32_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    write32(window, checked, D, index);
    sum += read32(window, checked, E);
  }
  return sum;
}

uint64_t twin_registers_eight(struct twin_window window, uint32_t count) { return eight(window, true, count); }
uint64_t twin_registers_eight_unchecked(struct twin_window window, uint32_t count) {
  return eight(window, false, count);
}
uint64_t twin_registers_one(struct twin_window window, uint32_t count) { return one(window, true, count); }
uint64_t twin_registers_one_unchecked(struct twin_window window, uint32_t count) { return one(window, false, count); }
