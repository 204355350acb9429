// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "CTwinsIOVA.h"

#define TWIN static inline __attribute__((always_inline))
enum { page_shift = 12, largest = 512, depth = 128 };

// Words of the table: 0, the length of a range handed out less one, or a link: an index with bit 63.
#define LINK_BIT (UINT64_C(1) << 63)

struct twin_iovas {
  uint64_t base, capacity;
  uint64_t *table;
  uint64_t top[largest + 1];
  int64_t room[largest + 1];
  pthread_mutex_t lock;
};

struct twin_iovas *twin_iovas_new(uint64_t base, uint64_t capacity) {
  struct twin_iovas *iovas = calloc(1, sizeof *iovas);
  iovas->base = base - (1 << page_shift);
  iovas->capacity = capacity;
  iovas->table = calloc(capacity, sizeof *iovas->table);
  for (int length = 1; length <= largest; length++) iovas->room[length] = depth;
  pthread_mutex_init(&iovas->lock, NULL);
  return iovas;
}

void twin_iovas_delete(struct twin_iovas *iovas) {
  free(iovas->table);
  free(iovas);
}

void twin_iovas_note(struct twin_iovas *iovas, uint64_t start, uint64_t byte_count) {
  iovas->table[(start - iovas->base) >> page_shift] = byte_count - 1;
}

// What would look into the tree, and here only fails: out of line, and the caller goes on with its answer.
static __attribute__((noinline)) bool take_slowly(struct twin_iovas *iovas, uint64_t byte_count, uint64_t *start) {
  __asm__ volatile("# slow" : : "r"(iovas), "r"(byte_count), "r"(start) : "memory");
  return false;
}
static __attribute__((noinline)) bool give_slowly(struct twin_iovas *iovas, uint64_t start, uint64_t last) {
  __asm__ volatile("# slow" : : "r"(iovas), "r"(start), "r"(last) : "memory");
  return false;
}
#define LIKELY(condition) __builtin_expect((condition), 1)

TWIN uint64_t rotated(uint64_t value) { return value >> page_shift | value << (64 - page_shift); }

TWIN bool take(struct twin_iovas *iovas, uint64_t byte_count, uint64_t alignment, uint64_t limit, uint64_t *result) {
  uint64_t length = rotated(byte_count);
  if (LIKELY(length <= largest)) {
    uint64_t link = iovas->top[length], start = iovas->base + (link << page_shift);
    if (LIKELY(link != 0) && LIKELY(start + (byte_count - 1) <= limit)
        && LIKELY(alignment <= 1 << page_shift || (start & (alignment - 1)) == 0)) {
      uint64_t *entry = (uint64_t *)((char *)iovas->table + (link << 3));  // shifts the bit out
      iovas->top[length] = *entry;
      iovas->room[length]++;
      *entry = byte_count - 1;
      *result = start;
      return true;
    }
  }
  return take_slowly(iovas, byte_count, result);
}

TWIN bool give(struct twin_iovas *iovas, uint64_t start, uint64_t last) {
  uint64_t index = rotated(start - iovas->base), extent = last - start;
  if (LIKELY(index < iovas->capacity) && LIKELY((int64_t)extent >= 0)) {
    uint64_t *entry = &iovas->table[index], length = (extent >> page_shift) + 1;
    if (LIKELY(*entry == extent) && LIKELY(--iovas->room[length] >= 0)) {
      *entry = iovas->top[length];
      iovas->top[length] = index | LINK_BIT;
      return true;
    }
  }
  return give_slowly(iovas, start, last);
}

void twin_iovas_return(struct twin_iovas *iovas, uint64_t start, uint64_t last) {
  if (!give(iovas, start, last)) abort();
}

uint64_t twin_iova_same(
    struct twin_iovas *iovas, uint64_t byte_count, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t start;
    if (!take(iovas, byte_count, alignment, limit, &start)) return 0;
    sum += start;
    if (!give(iovas, start, start + byte_count - 1)) return 0;
  }
  return sum;
}

uint64_t twin_iova_pair(struct twin_iovas *iovas, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    if (!take(iovas, byte_count, alignment, limit, &start)) return 0;
    sum += start;
    if (!give(iovas, start, start + byte_count - 1)) return 0;
  }
  return sum;
}

uint64_t twin_iova_ring(
    struct twin_iovas *iovas, struct twin_range *live, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    struct twin_range *place = &live[index & 63];
    if (!give(iovas, place->start, place->last)) return 0;
    if (!take(iovas, byte_count, alignment, limit, &start)) return 0;
    place->start = start;
    place->last = start + byte_count - 1;
    sum += start;
  }
  return sum;
}

uint64_t twin_iova_locked_pair(struct twin_iovas *iovas, uint64_t alignment, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    pthread_mutex_lock(&iovas->lock);
    if (!take(iovas, byte_count, alignment, limit, &start)) return 0;
    pthread_mutex_unlock(&iovas->lock);
    sum += start;
    pthread_mutex_lock(&iovas->lock);
    if (!give(iovas, start, start + byte_count - 1)) return 0;
    pthread_mutex_unlock(&iovas->lock);
  }
  return sum;
}
