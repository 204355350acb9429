// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "CTwinsIOVA.h"

#define TWIN static inline __attribute__((always_inline))
enum { page_shift = 12, class_count = 10, depth = 127 };

struct magazine {
  uint64_t count;
  uint64_t starts[depth];
};
struct twin_rcaches {
  struct magazine *loaded[class_count], *previous[class_count];
  pthread_mutex_t lock;
};

struct twin_rcaches *twin_rcaches_new(void) {
  struct twin_rcaches *caches = calloc(1, sizeof *caches);
  for (int class = 0; class < class_count; class++) {
    caches->loaded[class] = calloc(1, sizeof(struct magazine));
    caches->previous[class] = calloc(1, sizeof(struct magazine));
  }
  pthread_mutex_init(&caches->lock, NULL);
  return caches;
}

void twin_rcaches_delete(struct twin_rcaches *caches) {
  for (int class = 0; class < class_count; class++) {
    free(caches->loaded[class]);
    free(caches->previous[class]);
  }
  free(caches);
}

// The class of a length: the logarithm of the number of pages, rounded up.
TWIN uint32_t class_of(uint64_t byte_count) {
  uint64_t pages_minus_one = (byte_count - 1) >> page_shift;
  return pages_minus_one == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(pages_minus_one);
}

TWIN bool get(struct twin_rcaches *caches, uint64_t byte_count, uint64_t limit, uint64_t *start) {
  uint32_t class = class_of(byte_count);
  if (class >= class_count) return false;
  struct magazine *magazine = caches->loaded[class];
  if (magazine->count == 0) {
    if (caches->previous[class]->count == 0) return false;
    caches->loaded[class] = caches->previous[class];
    caches->previous[class] = magazine;
    magazine = caches->loaded[class];
  }
  uint64_t top = magazine->starts[magazine->count - 1];
  if (top + byte_count - 1 > limit) return false;
  magazine->count--;
  *start = top;
  return true;
}

TWIN bool put(struct twin_rcaches *caches, uint64_t start, uint64_t byte_count) {
  uint32_t class = class_of(byte_count);
  if (class >= class_count) return false;
  struct magazine *magazine = caches->loaded[class];
  if (magazine->count == depth) {
    if (caches->previous[class]->count == depth) return false;
    caches->loaded[class] = caches->previous[class];
    caches->previous[class] = magazine;
    magazine = caches->loaded[class];
  }
  magazine->starts[magazine->count++] = start;
  return true;
}

void twin_rcaches_put(struct twin_rcaches *caches, uint64_t start, uint64_t byte_count) {
  if (!put(caches, start, byte_count)) abort();
}

uint64_t twin_rcache_same(struct twin_rcaches *caches, uint64_t byte_count, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t start;
    if (!get(caches, byte_count, limit, &start)) abort();
    sum += start;
    if (!put(caches, start, byte_count)) abort();
  }
  return sum;
}

uint64_t twin_rcache_pair(struct twin_rcaches *caches, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    if (!get(caches, byte_count, limit, &start)) abort();
    sum += start;
    if (!put(caches, start, byte_count)) abort();
  }
  return sum;
}

uint64_t twin_rcache_ring(struct twin_rcaches *caches, struct twin_range *live, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    struct twin_range *place = &live[index & 63];
    if (!put(caches, place->start, place->last - place->start + 1)) abort();
    if (!get(caches, byte_count, limit, &start)) abort();
    place->start = start;
    place->last = start + byte_count - 1;
    sum += start;
  }
  return sum;
}

uint64_t twin_rcache_locked_pair(struct twin_rcaches *caches, uint64_t limit, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t byte_count = UINT64_C(4096) << (index & 3), start;
    pthread_mutex_lock(&caches->lock);
    if (!get(caches, byte_count, limit, &start)) abort();
    pthread_mutex_unlock(&caches->lock);
    sum += start;
    pthread_mutex_lock(&caches->lock);
    if (!put(caches, start, byte_count)) abort();
    pthread_mutex_unlock(&caches->lock);
  }
  return sum;
}
