// SPDX-License-Identifier: Apache-2.0
// libnuma: where memory is placed, and where it really lies.
#pragma once
#include <errno.h>
#include <numa.h>
#include <numaif.h>

/// The node that holds the page at `address`, or -errno (-ENOENT: the page is not there yet).
static inline int clibnuma_node_of_page(void *address) {
  void *pages[1] = {address};
  int status[1] = {-1};
  if (numa_move_pages(0, 1, pages, 0, status, 0) < 0) return -errno;
  return status[0];
}

/// Binds the pages of a range to one node; 0 or -errno.
static inline int clibnuma_bind(void *address, unsigned long byteCount, int node) {
  struct bitmask *nodes = numa_allocate_nodemask();
  if (!nodes) return -ENOMEM;
  numa_bitmask_setbit(nodes, (unsigned)node);
  long result = mbind(address, byteCount, MPOL_BIND, nodes->maskp, nodes->size + 1, 0);
  int saved = errno;
  numa_free_nodemask(nodes);
  return result < 0 ? -saved : 0;
}
