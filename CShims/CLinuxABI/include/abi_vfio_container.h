// SPDX-License-Identifier: Apache-2.0
// VFIO's container and its type 1 IOMMU: see abi_vfio.h.
#pragma once
#include "abi_vfio.h"

#define ABI_VFIO_GET_API_VERSION _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 0)
#define ABI_VFIO_CHECK_EXTENSION _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 1)
#define ABI_VFIO_SET_IOMMU _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 2)
#define ABI_VFIO_IOMMU_GET_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 12)
#define ABI_VFIO_IOMMU_MAP_DMA _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 13)
#define ABI_VFIO_IOMMU_UNMAP_DMA _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 14)
#define ABI_VFIO_IOMMU_DIRTY_PAGES _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 17)

#define ABI_VFIO_API_VERSION 0
#define ABI_VFIO_TYPE1_IOMMU 1u
#define ABI_VFIO_TYPE1v2_IOMMU 3u
#define ABI_VFIO_DMA_CC_IOMMU 4u
#define ABI_VFIO_NOIOMMU_IOMMU 8u
#define ABI_VFIO_UNMAP_ALL 9u
#define ABI_VFIO_UPDATE_VADDR 10u
#define ABI_VFIO_IOMMU_INFO_PGSIZES (1u << 0)
#define ABI_VFIO_IOMMU_INFO_CAPS (1u << 1)
#define ABI_VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE 1u
#define ABI_VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION 2u
#define ABI_VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL 3u
#define ABI_VFIO_DMA_MAP_FLAG_READ (1u << 0)
#define ABI_VFIO_DMA_MAP_FLAG_WRITE (1u << 1)
#define ABI_VFIO_DMA_MAP_FLAG_VADDR (1u << 2)
#define ABI_VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP (1u << 0)
#define ABI_VFIO_DMA_UNMAP_FLAG_ALL (1u << 1)
#define ABI_VFIO_DMA_UNMAP_FLAG_VADDR (1u << 2)
#define ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_START (1u << 0)
#define ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP (1u << 1)
#define ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP (1u << 2)

struct abi_vfio_iommu_type1_info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova_pgsizes;
  uint32_t cap_offset;
  uint32_t pad;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_info) == 24, "vfio_iommu_type1_info");
_Static_assert(offsetof(struct abi_vfio_iommu_type1_info, cap_offset) == 16, "vfio_iommu_type1_info");

struct abi_vfio_iova_range {
  uint64_t start;
  uint64_t end;  // inclusive
};
_Static_assert(sizeof(struct abi_vfio_iova_range) == 16, "vfio_iova_range");

/// Followed by `nr_iovas` ranges.
struct abi_vfio_iommu_type1_info_cap_iova_range {
  struct abi_vfio_info_cap_header header;
  uint32_t nr_iovas;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_info_cap_iova_range) == 16, "vfio_iommu_type1_info_cap_iova_range");

struct abi_vfio_iommu_type1_info_dma_avail {
  struct abi_vfio_info_cap_header header;
  uint32_t avail;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_info_dma_avail) == 12, "vfio_iommu_type1_info_dma_avail");

struct abi_vfio_iommu_type1_info_cap_migration {
  struct abi_vfio_info_cap_header header;
  uint32_t flags;
  uint64_t pgsize_bitmap;
  uint64_t max_dirty_bitmap_size;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_info_cap_migration) == 32, "vfio_iommu_type1_info_cap_migration");
_Static_assert(offsetof(struct abi_vfio_iommu_type1_info_cap_migration, pgsize_bitmap) == 16,
               "vfio_iommu_type1_info_cap_migration");

struct abi_vfio_iommu_type1_dma_map {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;
  uint64_t iova;
  uint64_t size;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_dma_map) == 32, "vfio_iommu_type1_dma_map");

/// A `vfio_bitmap` follows where the dirty pages of what is unmapped are asked for.
struct abi_vfio_iommu_type1_dma_unmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_dma_unmap) == 24, "vfio_iommu_type1_dma_unmap");

/// One bit a page of `pgsize` bytes; `data` is the address of `size` bytes, a multiple of 8.
struct abi_vfio_bitmap {
  uint64_t pgsize;
  uint64_t size;
  uint64_t data;
};
_Static_assert(sizeof(struct abi_vfio_bitmap) == 24, "vfio_bitmap");

/// A `vfio_iommu_type1_dirty_bitmap_get` follows where the bitmap is asked for.
struct abi_vfio_iommu_type1_dirty_bitmap {
  uint32_t argsz;
  uint32_t flags;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_dirty_bitmap) == 8, "vfio_iommu_type1_dirty_bitmap");

struct abi_vfio_iommu_type1_dirty_bitmap_get {
  uint64_t iova;
  uint64_t size;
  struct abi_vfio_bitmap bitmap;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_dirty_bitmap_get) == 40, "vfio_iommu_type1_dirty_bitmap_get");

ABI_INLINE int abi_vfio_get_api_version(int fd) { return abi_result(ioctl(fd, ABI_VFIO_GET_API_VERSION)); }
ABI_INLINE int abi_vfio_check_extension(int fd, uint32_t extension) {
  return abi_result(ioctl(fd, ABI_VFIO_CHECK_EXTENSION, (unsigned long)extension));
}
ABI_INLINE int abi_vfio_set_iommu(int fd, uint32_t type) {
  return abi_result(ioctl(fd, ABI_VFIO_SET_IOMMU, (unsigned long)type));
}
/// Fills at most `byteCount` bytes; `argsz` comes back as the size that the whole answer needs.
ABI_INLINE int abi_vfio_iommu_get_info(int fd, void *buffer, uint32_t byteCount) {
  struct abi_vfio_iommu_type1_info head = {.argsz = byteCount};
  memcpy(buffer, &head, sizeof(head));
  return abi_result(ioctl(fd, ABI_VFIO_IOMMU_GET_INFO, buffer));
}
ABI_INLINE int abi_vfio_iommu_map_dma(int fd, struct abi_vfio_iommu_type1_dma_map *map) {
  map->argsz = sizeof(*map);
  return abi_result(ioctl(fd, ABI_VFIO_IOMMU_MAP_DMA, map));
}
ABI_INLINE int abi_vfio_iommu_unmap_dma(int fd, struct abi_vfio_iommu_type1_dma_unmap *unmap) {
  unmap->argsz = sizeof(*unmap);
  return abi_result(ioctl(fd, ABI_VFIO_IOMMU_UNMAP_DMA, unmap));
}
/// Unmaps and asks which pages were dirty; `bitmap->data` is zeroed memory of `bitmap->size` bytes.
ABI_INLINE int abi_vfio_iommu_unmap_dma_dirty(int fd, struct abi_vfio_iommu_type1_dma_unmap *unmap,
                                              const struct abi_vfio_bitmap *bitmap) {
  _Alignas(8) char message[sizeof(*unmap) + sizeof(*bitmap)];
  unmap->argsz = sizeof(message);
  unmap->flags |= ABI_VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
  memcpy(message, unmap, sizeof(*unmap));
  memcpy(message + sizeof(*unmap), bitmap, sizeof(*bitmap));
  int result = abi_result(ioctl(fd, ABI_VFIO_IOMMU_UNMAP_DMA, message));
  memcpy(unmap, message, sizeof(*unmap));
  return result;
}
/// Starts or stops the log of dirty pages: `flag` is ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_START or _STOP.
ABI_INLINE int abi_vfio_iommu_dirty_pages_switch(int fd, uint32_t flag) {
  struct abi_vfio_iommu_type1_dirty_bitmap command = {.argsz = sizeof(command), .flags = flag};
  return abi_result(ioctl(fd, ABI_VFIO_IOMMU_DIRTY_PAGES, &command));
}
/// Sets the bits of the pages that were dirtied since the last time.
ABI_INLINE int abi_vfio_iommu_dirty_pages_get(int fd, const struct abi_vfio_iommu_type1_dirty_bitmap_get *get) {
  struct abi_vfio_iommu_type1_dirty_bitmap head = {.argsz = sizeof(head) + sizeof(*get),
                                                   .flags = ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP};
  _Alignas(8) char message[sizeof(head) + sizeof(*get)];
  memcpy(message, &head, sizeof(head));
  memcpy(message + sizeof(head), get, sizeof(*get));
  return abi_result(ioctl(fd, ABI_VFIO_IOMMU_DIRTY_PAGES, message));
}
