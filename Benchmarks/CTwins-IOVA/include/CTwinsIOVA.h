// SPDX-License-Identifier: Apache-2.0
// The IOVA loops once more, as a C programmer would write them. Each loop does `count` operations and returns
// the sum of the addresses or slots that it got, so that it can be compared with Swift's.
#pragma once
#include <stdint.h>

struct twin_range {
  uint64_t start, last;
};

/// The structure of Swift's IOVAMagazines, line for line: what is given back is checked.
struct twin_iovas;
struct twin_iovas *twin_iovas_new(uint64_t base, uint64_t capacity);
void twin_iovas_delete(struct twin_iovas *iovas);
/// Says that a range is handed out.
void twin_iovas_note(struct twin_iovas *iovas, uint64_t start, uint64_t byte_count);
/// Takes a range back.
void twin_iovas_return(struct twin_iovas *iovas, uint64_t start, uint64_t last);
/// Allocates and frees one length.
uint64_t twin_iova_same(
    struct twin_iovas *iovas, uint64_t byte_count, uint64_t alignment, uint64_t limit, uint32_t count);
/// Allocates and frees: lengths of 1, 2, 4 and 8 pages in turn.
uint64_t twin_iova_pair(struct twin_iovas *iovas, uint64_t alignment, uint64_t limit, uint32_t count);
/// Frees the oldest of 64 ranges and allocates one as long.
uint64_t twin_iova_ring(
    struct twin_iovas *iovas, struct twin_range *live, uint64_t alignment, uint64_t limit, uint32_t count);
/// As the first, each call under a lock.
uint64_t twin_iova_locked_pair(struct twin_iovas *iovas, uint64_t alignment, uint64_t limit, uint32_t count);

/// The kernel's shape: classes by powers of two, two magazines of 127 addresses each. Nothing is checked, so
/// a double free goes unnoticed; the limit is.
struct twin_rcaches;
struct twin_rcaches *twin_rcaches_new(void);
void twin_rcaches_delete(struct twin_rcaches *caches);
void twin_rcaches_put(struct twin_rcaches *caches, uint64_t start, uint64_t byte_count);
uint64_t twin_rcache_same(struct twin_rcaches *caches, uint64_t byte_count, uint64_t limit, uint32_t count);
uint64_t twin_rcache_pair(struct twin_rcaches *caches, uint64_t limit, uint32_t count);
uint64_t twin_rcache_ring(struct twin_rcaches *caches, struct twin_range *live, uint64_t limit, uint32_t count);
uint64_t twin_rcache_locked_pair(struct twin_rcaches *caches, uint64_t limit, uint32_t count);

/// A radix table as IOVAMap: three levels for all 64 bits, atomic loads.
struct twin_map;
struct twin_map *twin_map_new(void);
void twin_map_delete(struct twin_map *map);
void twin_map_insert(struct twin_map *map, uint64_t start, uint64_t page_count, uint32_t slot);
/// Looks up 2^14 addresses again and again.
uint64_t twin_map_lookup(const struct twin_map *map, const uint64_t *queries, uint32_t count);
/// Two levels, plain loads, every address below 2^48.
uint64_t twin_map_lookup_unchecked(const struct twin_map *map, const uint64_t *queries, uint32_t count);
