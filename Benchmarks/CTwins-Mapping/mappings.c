// SPDX-License-Identifier: Apache-2.0
#include "CTwinsMapping.h"

#include <errno.h>
#include <sys/prctl.h>

#include "CLinuxABI.h"

int twin_space_map(struct twin_space space, void *base, uint64_t iova, uint64_t byte_count) {
  if (space.is_ioas) {
    struct abi_iommu_ioas_map command = {
        .flags = ABI_IOMMU_IOAS_MAP_FIXED_IOVA | ABI_IOMMU_IOAS_MAP_READABLE | ABI_IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = space.ioas,
        .user_va = (uintptr_t)base,
        .length = byte_count,
        .iova = iova};
    return abi_iommu_ioas_map(space.fd, &command);
  }
  struct abi_vfio_iommu_type1_dma_map command = {
      .flags = ABI_VFIO_DMA_MAP_FLAG_READ | ABI_VFIO_DMA_MAP_FLAG_WRITE,
      .vaddr = (uintptr_t)base,
      .iova = iova,
      .size = byte_count};
  return abi_vfio_iommu_map_dma(space.fd, &command);
}

int twin_space_unmap(struct twin_space space, uint64_t iova, uint64_t byte_count) {
  if (space.is_ioas) {
    struct abi_iommu_ioas_unmap command = {.ioas_id = space.ioas, .iova = iova, .length = byte_count};
    int result = abi_iommu_ioas_unmap(space.fd, &command);
    return result < 0 || command.length == byte_count ? result : -EIO;
  }
  struct abi_vfio_iommu_type1_dma_unmap command = {.iova = iova, .size = byte_count};
  int result = abi_vfio_iommu_unmap_dma(space.fd, &command);
  return result < 0 || command.size == byte_count ? result : -EIO;
}

int twin_space_pairs(struct twin_space space, void *base, uint64_t iova, uint64_t byte_count, uint32_t count) {
  for (uint32_t index = 0; index != count; index++) {
    int result = twin_space_map(space, base, iova, byte_count);
    if (result < 0) return result;
    result = twin_space_unmap(space, iova, byte_count);
    if (result < 0) return result;
  }
  return 0;
}

int twin_ordinary_pages_only(void) { return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 ? 0 : -errno; }
