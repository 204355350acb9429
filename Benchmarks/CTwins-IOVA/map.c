// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>
#include <stdlib.h>

#include "CTwinsIOVA.h"

#define TWIN static inline __attribute__((always_inline))
enum { page_shift = 12, leaf_shift = 28, root_shift = 48, leaf_count = 1 << 16, root_count = 1 << 20 };

struct twin_map {
  _Atomic uint64_t *root, *upper;
};

struct twin_map *twin_map_new(void) {
  struct twin_map *map = calloc(1, sizeof *map);
  map->root = calloc(root_count, sizeof *map->root);
  map->upper = calloc(1 << 16, sizeof *map->upper);
  return map;
}

void twin_map_delete(struct twin_map *map) {
  for (int index = 0; index < root_count; index++) free((void *)(uintptr_t)map->root[index]);
  free(map->root);
  free(map->upper);
  free(map);
}

// Only below 2^48: what the loops look up.
void twin_map_insert(struct twin_map *map, uint64_t start, uint64_t page_count, uint32_t slot) {
  for (uint64_t page = start >> page_shift, end = page + page_count; page != end; page++) {
    _Atomic uint64_t *word = &map->root[page >> (leaf_shift - page_shift)];
    if (*word == 0) *word = (uintptr_t)calloc(leaf_count, sizeof(uint32_t));
    _Atomic uint32_t *leaf = (_Atomic uint32_t *)(uintptr_t)*word;
    atomic_store_explicit(&leaf[page & (leaf_count - 1)], slot + 1, memory_order_release);
  }
}

// The slot + 1; 0 for none.
TWIN uint32_t find(const _Atomic uint64_t *root, uint64_t address) {
  uint64_t word = atomic_load_explicit(&root[address >> leaf_shift & (root_count - 1)], memory_order_acquire);
  if (word & 1) return (uint32_t)(word >> 32);
  if (word == 0) return 0;
  const _Atomic uint32_t *leaf = (const _Atomic uint32_t *)(uintptr_t)word;
  return atomic_load_explicit(&leaf[address >> page_shift & (leaf_count - 1)], memory_order_acquire);
}

static __attribute__((noinline)) uint32_t find_above(const struct twin_map *map, uint64_t address) {
  uint64_t root = atomic_load_explicit(&map->upper[address >> root_shift], memory_order_acquire);
  return root == 0 ? 0 : find((const _Atomic uint64_t *)(uintptr_t)root, address);
}

uint64_t twin_map_lookup(const struct twin_map *map, const uint64_t *queries, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t address = queries[index & 0x3fff];
    uint32_t value = __builtin_expect(address >> root_shift != 0, 0) ? find_above(map, address) : find(map->root, address);
    if (value == 0) abort();
    sum += value - 1;
  }
  return sum;
}

uint64_t twin_map_lookup_unchecked(const struct twin_map *map, const uint64_t *queries, uint32_t count) {
  uint64_t sum = 0;
  uint32_t *const *root = (uint32_t *const *)map->root;
  for (uint32_t index = 0; index != count; index++) {
    uint64_t address = queries[index & 0x3fff];
    const uint32_t *leaf = root[address >> leaf_shift];
    if (leaf == NULL) abort();
    uint32_t value = leaf[address >> page_shift & (leaf_count - 1)];
    if (value == 0) abort();
    sum += value - 1;
  }
  return sum;
}
