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
