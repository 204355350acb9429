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
