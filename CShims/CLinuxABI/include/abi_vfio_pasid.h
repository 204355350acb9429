// SPDX-License-Identifier: Apache-2.0
// A container's PASIDs: proposed for VFIO in 2020 and in no release. The lab's patched kernel has it (Tests/Lab/kernel/patches);
// others answer ENOTTY, or EINVAL while the container has no IOMMU.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "abi_vfio.h"

#define ABI_VFIO_IOMMU_PASID_REQUEST _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 22)
#define ABI_VFIO_IOMMU_PASID_REQUEST_ALLOC (1u << 0)
#define ABI_VFIO_IOMMU_PASID_REQUEST_FREE (1u << 1)

/// The request that takes a PASID; the one that gives it back is shorter: the kernel's is a union of the two.
struct abi_vfio_iommu_pasid_request {
  uint32_t argsz;
  uint32_t flags;
  uint32_t min;
  uint32_t max;
  uint32_t result;
};
struct abi_vfio_iommu_pasid_return {
  uint32_t argsz;
  uint32_t flags;
  uint32_t free_pasid;
};
_Static_assert(sizeof(struct abi_vfio_iommu_pasid_request) == 20, "size");
_Static_assert(offsetof(struct abi_vfio_iommu_pasid_request, result) == 16, "result");
_Static_assert(sizeof(struct abi_vfio_iommu_pasid_return) == 12, "size");
_Static_assert(offsetof(struct abi_vfio_iommu_pasid_return, free_pasid) == 8, "free_pasid");

/// Takes the PASID into `*result` that the kernel chooses in `min`...`max`, inclusive.
ABI_INLINE int abi_vfio_iommu_pasid_alloc(int fd, uint32_t min, uint32_t max, uint32_t *result) {
  struct abi_vfio_iommu_pasid_request request = {
      .argsz = sizeof(request), .flags = ABI_VFIO_IOMMU_PASID_REQUEST_ALLOC, .min = min, .max = max};
  int status = abi_result(ioctl(fd, ABI_VFIO_IOMMU_PASID_REQUEST, &request));
  *result = request.result;
  return status;
}
ABI_INLINE int abi_vfio_iommu_pasid_free(int fd, uint32_t pasid) {
  struct abi_vfio_iommu_pasid_return request = {
      .argsz = sizeof(request), .flags = ABI_VFIO_IOMMU_PASID_REQUEST_FREE, .free_pasid = pasid};
  return abi_result(ioctl(fd, ABI_VFIO_IOMMU_PASID_REQUEST, &request));
}
