// SPDX-License-Identifier: Apache-2.0
// Mapping memory for a device by the kernel's calls alone: what AddressSpace's expose and reclaim are measured against.
#pragma once
#include <stdbool.h>
#include <stdint.h>

/// Where mappings are made: a container, or an IOAS of an iommufd.
struct twin_space {
  int fd;
  bool is_ioas;
  uint32_t ioas;
};

/// Maps memory for reading and writing; 0, or -errno.
int twin_space_map(struct twin_space space, void *base, uint64_t iova, uint64_t byte_count);
/// Unmaps it; 0, or -errno.
int twin_space_unmap(struct twin_space space, uint64_t iova, uint64_t byte_count);
/// Maps and unmaps it, `count` times; 0, or -errno.
int twin_space_pairs(struct twin_space space, void *base, uint64_t iova, uint64_t byte_count, uint32_t count);

/// Keeps the kernel from putting huge pages in the place of ordinary ones; 0, or -errno.
int twin_ordinary_pages_only(void);
