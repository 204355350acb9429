// SPDX-License-Identifier: Apache-2.0
// The C twin of PageShareTable: the same words, the same order of accesses.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct cshares;
struct cshares *cshares_new(size_t pageCount, uint32_t maximum);
void cshares_free(struct cshares *table);
/// The page that refused, or -1.
int64_t cshares_share(struct cshares *table, int64_t start, int64_t end);
int64_t cshares_unshare(struct cshares *table, int64_t start, int64_t end);

/// Shares and unshares the pages of a table, `unit` at a time, `count` in all; returns how many calls it made.
uint64_t cshares_loop(struct cshares *table, int64_t page_count, int64_t unit, uint32_t count);
/// Counts up and down, and looks at nothing.
uint64_t cshares_loop_unchecked(struct cshares *table, int64_t page_count, int64_t unit, uint32_t count);
