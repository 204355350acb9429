// SPDX-License-Identifier: Apache-2.0
#include "CShares.h"

#include <stdatomic.h>
#include <stdlib.h>

struct cshares {
  uint32_t maximum;
  _Atomic uint32_t *words;
};

struct cshares *cshares_new(size_t pageCount, uint32_t maximum) {
  struct cshares *table = malloc(sizeof *table);
  if (!table) return NULL;
  table->maximum = maximum;
  table->words = calloc(pageCount, sizeof *table->words);
  if (!table->words) {
    free(table);
    return NULL;
  }
  return table;
}

void cshares_free(struct cshares *table) {
  free(table->words);
  free(table);
}

int64_t cshares_share(struct cshares *table, int64_t start, int64_t end) {
  for (int64_t page = start; page < end; page++) {
    uint32_t word = atomic_load_explicit(&table->words[page], memory_order_relaxed);
    do {
      if (word >= table->maximum) {
        for (int64_t done = page; done > start;)
          atomic_fetch_sub_explicit(&table->words[--done], 1, memory_order_release);
        return page;
      }
    } while (!atomic_compare_exchange_weak_explicit(&table->words[page], &word, word + 1, memory_order_acquire,
                                                    memory_order_relaxed));
  }
  return -1;
}

int64_t cshares_unshare(struct cshares *table, int64_t start, int64_t end) {
  for (int64_t page = start; page < end; page++)
    if (atomic_load_explicit(&table->words[page], memory_order_relaxed) + 1 <= 1) return page;
  for (int64_t page = start; page < end; page++) {
    uint32_t word = atomic_load_explicit(&table->words[page], memory_order_relaxed);
    do {
      if (word + 1 <= 1) {
        for (int64_t done = page; done > start;)
          atomic_fetch_add_explicit(&table->words[--done], 1, memory_order_acquire);
        return page;
      }
    } while (!atomic_compare_exchange_weak_explicit(&table->words[page], &word, word - 1, memory_order_release,
                                                    memory_order_relaxed));
  }
  return -1;
}

uint64_t cshares_loop(struct cshares *table, int64_t page_count, int64_t unit, uint32_t count) {
  uint64_t sum = 0;
  for (int64_t done = 0; done < count; done += unit) {
    int64_t page = done & (page_count - 1);
    if (cshares_share(table, page, page + unit) >= 0) return 0;
    sum += atomic_load_explicit(&table->words[page], memory_order_acquire);
    if (cshares_unshare(table, page, page + unit) >= 0) return 0;
  }
  return sum;
}

uint64_t cshares_loop_unchecked(struct cshares *table, int64_t page_count, int64_t unit, uint32_t count) {
  uint64_t sum = 0;
  for (int64_t done = 0; done < count; done += unit) {
    int64_t first = done & (page_count - 1), end = first + unit;
    for (int64_t page = first; page < end; page++)
      atomic_fetch_add_explicit(&table->words[page], 1, memory_order_acquire);
    sum += atomic_load_explicit(&table->words[first], memory_order_relaxed);
    for (int64_t page = first; page < end; page++)
      atomic_fetch_sub_explicit(&table->words[page], 1, memory_order_release);
  }
  return sum;
}
