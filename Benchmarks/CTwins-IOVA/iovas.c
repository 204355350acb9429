// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "CTwinsIOVA.h"

#define TWIN static inline __attribute__((always_inline))
enum { page_shift = 12, largest = 512, depth = 128 };

struct magazine {
  uint32_t top, room;
};
struct twin_iovas {
  uint64_t base, capacity;
  uint32_t *table;
  struct magazine magazines[largest + 1];
  pthread_mutex_t lock;
};

struct twin_iovas *twin_iovas_new(uint64_t base, uint64_t capacity) {
  struct twin_iovas *iovas = calloc(1, sizeof *iovas);
  iovas->base = base - (1 << page_shift);
  iovas->capacity = capacity;
  iovas->table = calloc(capacity, sizeof *iovas->table);
  for (int length = 1; length <= largest; length++) iovas->magazines[length].room = depth;
  pthread_mutex_init(&iovas->lock, NULL);
  return iovas;
}

void twin_iovas_delete(struct twin_iovas *iovas) {
  free(iovas->table);
  free(iovas);
}

void twin_iovas_note(struct twin_iovas *iovas, uint64_t start, uint64_t byte_count) {
  iovas->table[(start - iovas->base) >> page_shift] = (uint32_t)(1 - byte_count);
}

TWIN uint64_t rotated(uint64_t value) { return value >> page_shift | value << (64 - page_shift); }

TWIN bool take(struct twin_iovas *iovas, uint64_t byte_count, uint64_t alignment, uint64_t limit, uint64_t *result) {
  uint64_t length = rotated(byte_count);
  if (length > largest) return false;
  struct magazine *magazine = &iovas->magazines[length];
  uint64_t index = magazine->top;
  if (index == 0) return false;
  uint64_t start = iovas->base + (index << page_shift);
  if (start + byte_count - 1 > limit) return false;
  if (alignment > 1 << page_shift && (start & (alignment - 1)) != 0) return false;
  magazine->top = iovas->table[index];
  magazine->room++;
  iovas->table[index] = (uint32_t)(1 - byte_count);
  *result = start;
  return true;
}

TWIN bool give(struct twin_iovas *iovas, uint64_t start, uint64_t last) {
  uint64_t index = rotated(start - iovas->base);
  uint64_t mark = start - last;
  if (index >= iovas->capacity || mark < 1 - ((uint64_t)largest << page_shift)) return false;
  if (iovas->table[index] != (uint32_t)mark) return false;
  struct magazine *magazine = &iovas->magazines[(-mark >> page_shift) + 1];
  if (magazine->room == 0) return false;
  magazine->room--;
  iovas->table[index] = magazine->top;
  magazine->top = (uint32_t)index;
  return true;
}

void twin_iovas_return(struct twin_iovas *iovas, uint64_t start, uint64_t last) {
  if (!give(iovas, start, last)) abort();
}

uint64_t twin_iova_pair(struct twin_iovas *iovas, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    if (!take(iovas, byte_count, alignment, limit, &start)) abort();
    sum += start;
    if (!give(iovas, start, start + byte_count - 1)) abort();
  }
  return sum;
}

uint64_t twin_iova_ring(struct twin_iovas *iovas, uint64_t *live, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), *place = &live[index & 63], start;
    if (!give(iovas, *place, *place + byte_count - 1)) abort();
    if (!take(iovas, byte_count, alignment, limit, &start)) abort();
    *place = start;
    sum += start;
  }
  return sum;
}

uint64_t twin_iova_locked_pair(struct twin_iovas *iovas, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    pthread_mutex_lock(&iovas->lock);
    if (!take(iovas, byte_count, alignment, limit, &start)) abort();
    pthread_mutex_unlock(&iovas->lock);
    sum += start;
    pthread_mutex_lock(&iovas->lock);
    if (!give(iovas, start, start + byte_count - 1)) abort();
    pthread_mutex_unlock(&iovas->lock);
  }
  return sum;
}

// Not empty for the compiler, so that no call of them is dropped and they are not made one function.
__attribute__((noinline)) void twin_measurement_begins(void) { __asm__ volatile("# begins"); }
__attribute__((noinline)) void twin_measurement_ends(void) { __asm__ volatile("# ends"); }
