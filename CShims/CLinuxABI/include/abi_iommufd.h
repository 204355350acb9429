// SPDX-License-Identifier: Apache-2.0
// iommufd: our own declarations of the structures and numbers of include/uapi/linux/iommufd.h (facts of
// Linux 6.2 to 7.3). Distribution headers are older than this, so none is needed; abi_checks.c and
// ABITests compare the two wherever a newer header exists. Every call fills `size` itself.
#pragma once
#include "abi_syscalls.h"

#define ABI_IOMMUFD_TYPE ';'
#define ABI_IOMMU_DESTROY _IO(ABI_IOMMUFD_TYPE, 0x80)
#define ABI_IOMMU_IOAS_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x81)
#define ABI_IOMMU_IOAS_IOVA_RANGES _IO(ABI_IOMMUFD_TYPE, 0x84)
#define ABI_IOMMU_IOAS_MAP _IO(ABI_IOMMUFD_TYPE, 0x85)
#define ABI_IOMMU_IOAS_UNMAP _IO(ABI_IOMMUFD_TYPE, 0x86)
#define ABI_IOMMU_GET_HW_INFO _IO(ABI_IOMMUFD_TYPE, 0x8a)
#define ABI_IOMMU_IOAS_MAP_FILE _IO(ABI_IOMMUFD_TYPE, 0x8f)
#define ABI_IOMMU_IOAS_NOIOMMU_GET_PA _IO(ABI_IOMMUFD_TYPE, 0x95)

#define ABI_IOMMU_IOAS_MAP_FIXED_IOVA (1u << 0)
#define ABI_IOMMU_IOAS_MAP_WRITEABLE (1u << 1)
#define ABI_IOMMU_IOAS_MAP_READABLE (1u << 2)

#define ABI_IOMMU_HW_INFO_TYPE_NONE 0u
#define ABI_IOMMU_HW_INFO_TYPE_INTEL_VTD 1u
#define ABI_IOMMU_HW_INFO_TYPE_ARM_SMMUV3 2u
#define ABI_IOMMU_HW_CAP_DIRTY_TRACKING (1ull << 0)

struct abi_iommu_destroy {
  uint32_t size;
  uint32_t id;
};
_Static_assert(sizeof(struct abi_iommu_destroy) == 8, "iommu_destroy");

struct abi_iommu_ioas_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};
_Static_assert(sizeof(struct abi_iommu_ioas_alloc) == 12, "iommu_ioas_alloc");

struct abi_iommu_iova_range {
  uint64_t start;
  uint64_t last;
};
_Static_assert(sizeof(struct abi_iommu_iova_range) == 16, "iommu_iova_range");

struct abi_iommu_ioas_iova_ranges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;
  uint64_t out_iova_alignment;
};
_Static_assert(sizeof(struct abi_iommu_ioas_iova_ranges) == 32, "iommu_ioas_iova_ranges");
_Static_assert(offsetof(struct abi_iommu_ioas_iova_ranges, allowed_iovas) == 16, "iommu_ioas_iova_ranges");

struct abi_iommu_ioas_map {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t user_va;
  uint64_t length;
  uint64_t iova;
};
_Static_assert(sizeof(struct abi_iommu_ioas_map) == 40, "iommu_ioas_map");
_Static_assert(offsetof(struct abi_iommu_ioas_map, user_va) == 16, "iommu_ioas_map");

/// Linux 6.14. `fd` is a memfd's or, since 7.0, that of a dma-buf of one range that VFIO exported.
struct abi_iommu_ioas_map_file {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;
  uint64_t length;
  uint64_t iova;
};
_Static_assert(sizeof(struct abi_iommu_ioas_map_file) == 40, "iommu_ioas_map_file");
_Static_assert(offsetof(struct abi_iommu_ioas_map_file, start) == 16, "iommu_ioas_map_file");

/// Linux 7.3. `length` comes back as the bytes that are contiguous from `out_phys` on.
struct abi_iommu_ioas_noiommu_get_pa {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t out_phys;
};
_Static_assert(sizeof(struct abi_iommu_ioas_noiommu_get_pa) == 40, "iommu_ioas_noiommu_get_pa");
_Static_assert(offsetof(struct abi_iommu_ioas_noiommu_get_pa, out_phys) == 32, "iommu_ioas_noiommu_get_pa");

struct abi_iommu_ioas_unmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;
};
_Static_assert(sizeof(struct abi_iommu_ioas_unmap) == 24, "iommu_ioas_unmap");

/// Linux 6.6; `out_max_pasid_log2` since 6.15 (the three bytes after it stay reserved).
struct abi_iommu_hw_info {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t out_data_type;
  uint8_t out_max_pasid_log2;
  uint8_t reserved[3];
  uint64_t out_capabilities;
};
_Static_assert(sizeof(struct abi_iommu_hw_info) == 40, "iommu_hw_info");
_Static_assert(offsetof(struct abi_iommu_hw_info, out_max_pasid_log2) == 28, "iommu_hw_info");
_Static_assert(offsetof(struct abi_iommu_hw_info, out_capabilities) == 32, "iommu_hw_info");

/// The beginning of `struct iommu_hw_info_vtd`: what VT-d hardware says of itself.
struct abi_iommu_hw_info_vtd {
  uint32_t flags;
  uint32_t reserved;
  uint64_t cap_reg;
  uint64_t ecap_reg;
};
_Static_assert(sizeof(struct abi_iommu_hw_info_vtd) == 24, "iommu_hw_info_vtd");

ABI_INLINE int abi_iommu_destroy(int fd, uint32_t id) {
  struct abi_iommu_destroy command = {.size = sizeof(command), .id = id};
  return abi_result(ioctl(fd, ABI_IOMMU_DESTROY, &command));
}
ABI_INLINE int abi_iommu_ioas_alloc(int fd, struct abi_iommu_ioas_alloc *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_ALLOC, command));
}
ABI_INLINE int abi_iommu_ioas_iova_ranges(int fd, struct abi_iommu_ioas_iova_ranges *command,
                                          struct abi_iommu_iova_range *ranges, uint32_t capacity) {
  command->size = sizeof(*command);
  command->num_iovas = capacity;
  command->reserved = 0;
  command->allowed_iovas = (uint64_t)(uintptr_t)ranges;
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_IOVA_RANGES, command));
}
ABI_INLINE int abi_iommu_ioas_map(int fd, struct abi_iommu_ioas_map *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_MAP, command));
}
ABI_INLINE int abi_iommu_ioas_map_file(int fd, struct abi_iommu_ioas_map_file *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_MAP_FILE, command));
}
ABI_INLINE int abi_iommu_ioas_noiommu_get_pa(int fd, struct abi_iommu_ioas_noiommu_get_pa *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_NOIOMMU_GET_PA, command));
}
ABI_INLINE int abi_iommu_ioas_unmap(int fd, struct abi_iommu_ioas_unmap *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_UNMAP, command));
}
ABI_INLINE int abi_iommu_get_hw_info(int fd, struct abi_iommu_hw_info *command, void *data, uint32_t byteCount) {
  command->size = sizeof(*command);
  command->data_len = byteCount;
  command->data_uptr = (uint64_t)(uintptr_t)data;
  return abi_result(ioctl(fd, ABI_IOMMU_GET_HW_INFO, command));
}
