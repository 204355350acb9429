// SPDX-License-Identifier: Apache-2.0
// iommufd's page tables of the hardware: made, invalidated, asked what is dirty; and the faults in them. Every call
// fills `size` itself, and where there is vendor data, its place and length.
#pragma once
#include "abi_iommufd.h"

#define ABI_IOMMU_HWPT_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x89)
#define ABI_IOMMU_HWPT_SET_DIRTY_TRACKING _IO(ABI_IOMMUFD_TYPE, 0x8b)
#define ABI_IOMMU_HWPT_GET_DIRTY_BITMAP _IO(ABI_IOMMUFD_TYPE, 0x8c)
#define ABI_IOMMU_HWPT_INVALIDATE _IO(ABI_IOMMUFD_TYPE, 0x8d)
#define ABI_IOMMU_FAULT_QUEUE_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x8e)

#define ABI_IOMMU_HWPT_ALLOC_NEST_PARENT (1u << 0)
#define ABI_IOMMU_HWPT_ALLOC_DIRTY_TRACKING (1u << 1)
#define ABI_IOMMU_HWPT_FAULT_ID_VALID (1u << 2)
#define ABI_IOMMU_HWPT_ALLOC_PASID (1u << 3)
#define ABI_IOMMU_HWPT_DATA_NONE 0u
#define ABI_IOMMU_HWPT_DATA_VTD_S1 1u
#define ABI_IOMMU_HWPT_DATA_ARM_SMMUV3 2u
#define ABI_IOMMU_HWPT_DATA_AMD_GUEST 3u
#define ABI_IOMMU_VTD_S1_SRE (1u << 0)
#define ABI_IOMMU_VTD_S1_EAFE (1u << 1)
#define ABI_IOMMU_VTD_S1_WPE (1u << 2)
#define ABI_IOMMU_HWPT_DIRTY_TRACKING_ENABLE 1u
#define ABI_IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR 1u
#define ABI_IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 0u
#define ABI_IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 1u
#define ABI_IOMMU_VTD_INV_FLAGS_LEAF (1u << 0)
#define ABI_IOMMU_PGFAULT_FLAGS_PASID_VALID (1u << 0)
#define ABI_IOMMU_PGFAULT_FLAGS_LAST_PAGE (1u << 1)
#define ABI_IOMMU_PGFAULT_PERM_READ (1u << 0)
#define ABI_IOMMU_PGFAULT_PERM_WRITE (1u << 1)
#define ABI_IOMMU_PGFAULT_PERM_EXEC (1u << 2)
#define ABI_IOMMU_PGFAULT_PERM_PRIV (1u << 3)
#define ABI_IOMMUFD_PAGE_RESP_SUCCESS 0u
#define ABI_IOMMUFD_PAGE_RESP_INVALID 1u

/// Linux 6.6; `fault_id` since 6.11.
struct abi_iommu_hwpt_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;
  uint32_t out_hwpt_id;
  uint32_t reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;
  uint32_t reserved2;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_alloc) == 48, "iommu_hwpt_alloc");
_Static_assert(offsetof(struct abi_iommu_hwpt_alloc, data_uptr) == 32, "iommu_hwpt_alloc");
_Static_assert(offsetof(struct abi_iommu_hwpt_alloc, fault_id) == 40, "iommu_hwpt_alloc");

struct abi_iommu_hwpt_vtd_s1 {
  uint64_t flags;
  uint64_t pgtbl_addr;
  uint32_t addr_width;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_vtd_s1) == 24, "iommu_hwpt_vtd_s1");

/// Little-endian.
struct abi_iommu_hwpt_arm_smmuv3 {
  uint64_t ste[2];
};
_Static_assert(sizeof(struct abi_iommu_hwpt_arm_smmuv3) == 16, "iommu_hwpt_arm_smmuv3");

struct abi_iommu_hwpt_amd_guest {
  uint64_t dte[4];
};
_Static_assert(sizeof(struct abi_iommu_hwpt_amd_guest) == 32, "iommu_hwpt_amd_guest");

/// Linux 6.7.
struct abi_iommu_hwpt_set_dirty_tracking {
  uint32_t size;
  uint32_t flags;
  uint32_t hwpt_id;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_set_dirty_tracking) == 16, "iommu_hwpt_set_dirty_tracking");

/// Linux 6.7.
struct abi_iommu_hwpt_get_dirty_bitmap {
  uint32_t size;
  uint32_t hwpt_id;
  uint32_t flags;
  uint32_t reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t data;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_get_dirty_bitmap) == 48, "iommu_hwpt_get_dirty_bitmap");
_Static_assert(offsetof(struct abi_iommu_hwpt_get_dirty_bitmap, data) == 40, "iommu_hwpt_get_dirty_bitmap");

struct abi_iommu_hwpt_vtd_s1_invalidate {
  uint64_t addr;
  uint64_t npages;
  uint32_t flags;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_vtd_s1_invalidate) == 24, "iommu_hwpt_vtd_s1_invalidate");

/// Little-endian.
struct abi_iommu_viommu_arm_smmuv3_invalidate {
  uint64_t cmd[2];
};
_Static_assert(sizeof(struct abi_iommu_viommu_arm_smmuv3_invalidate) == 16, "iommu_viommu_arm_smmuv3_invalidate");

/// Linux 6.8; of a virtual IOMMU since 6.13. `entry_num` comes back as how many were handled, also with an error.
struct abi_iommu_hwpt_invalidate {
  uint32_t size;
  uint32_t hwpt_id;
  uint64_t data_uptr;
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_invalidate) == 32, "iommu_hwpt_invalidate");
_Static_assert(offsetof(struct abi_iommu_hwpt_invalidate, data_type) == 16, "iommu_hwpt_invalidate");

/// Linux 6.11.
struct abi_iommu_fault_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_fault_id;
  uint32_t out_fault_fd;
};
_Static_assert(sizeof(struct abi_iommu_fault_alloc) == 16, "iommu_fault_alloc");

/// What is read from a fault queue, whole groups at a time.
struct abi_iommu_hwpt_pgfault {
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pasid;
  uint32_t grpid;
  uint32_t perm;
  uint32_t reserved;
  uint64_t addr;
  uint32_t length;
  uint32_t cookie;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_pgfault) == 40, "iommu_hwpt_pgfault");
_Static_assert(offsetof(struct abi_iommu_hwpt_pgfault, addr) == 24, "iommu_hwpt_pgfault");

/// What is written to it.
struct abi_iommu_hwpt_page_response {
  uint32_t cookie;
  uint32_t code;
};
_Static_assert(sizeof(struct abi_iommu_hwpt_page_response) == 8, "iommu_hwpt_page_response");

ABI_INLINE int abi_iommu_hwpt_alloc(int fd, struct abi_iommu_hwpt_alloc *command, const void *data,
                                    uint32_t byteCount) {
  command->size = sizeof(*command);
  command->data_len = byteCount;
  command->data_uptr = byteCount == 0 ? 0 : (uint64_t)(uintptr_t)data;
  return abi_result(ioctl(fd, ABI_IOMMU_HWPT_ALLOC, command));
}
ABI_INLINE int abi_iommu_hwpt_set_dirty_tracking(int fd, uint32_t id, uint32_t flags) {
  struct abi_iommu_hwpt_set_dirty_tracking command = {.size = sizeof(command), .flags = flags, .hwpt_id = id};
  return abi_result(ioctl(fd, ABI_IOMMU_HWPT_SET_DIRTY_TRACKING, &command));
}
/// Sets bits in `bitmap`, and clears none.
ABI_INLINE int abi_iommu_hwpt_get_dirty_bitmap(int fd, struct abi_iommu_hwpt_get_dirty_bitmap *command, void *bitmap) {
  command->size = sizeof(*command);
  command->data = (uint64_t)(uintptr_t)bitmap;
  return abi_result(ioctl(fd, ABI_IOMMU_HWPT_GET_DIRTY_BITMAP, command));
}
ABI_INLINE int abi_iommu_hwpt_invalidate(int fd, struct abi_iommu_hwpt_invalidate *command, const void *entries) {
  command->size = sizeof(*command);
  command->data_uptr = (uint64_t)(uintptr_t)entries;
  return abi_result(ioctl(fd, ABI_IOMMU_HWPT_INVALIDATE, command));
}
ABI_INLINE int abi_iommu_fault_queue_alloc(int fd, struct abi_iommu_fault_alloc *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_FAULT_QUEUE_ALLOC, command));
}
