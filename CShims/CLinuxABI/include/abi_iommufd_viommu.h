// SPDX-License-Identifier: Apache-2.0
// iommufd's share of an IOMMU for a virtual machine: the virtual IOMMU, its devices, events and queues. Every call fills
// `size` itself.
#pragma once
#include "abi_iommufd.h"

#define ABI_IOMMU_VIOMMU_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x90)
#define ABI_IOMMU_VDEVICE_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x91)
#define ABI_IOMMU_VEVENTQ_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x93)
#define ABI_IOMMU_HW_QUEUE_ALLOC _IO(ABI_IOMMUFD_TYPE, 0x94)

#define ABI_IOMMU_VIOMMU_TYPE_DEFAULT 0u
#define ABI_IOMMU_VIOMMU_TYPE_ARM_SMMUV3 1u
#define ABI_IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV 2u
#define ABI_IOMMU_VEVENTQ_FLAG_LOST_EVENTS (1u << 0)
#define ABI_IOMMU_VEVENTQ_TYPE_DEFAULT 0u
#define ABI_IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 1u
#define ABI_IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV 2u
#define ABI_IOMMU_HW_QUEUE_TYPE_DEFAULT 0u
#define ABI_IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV 1u

/// Linux 6.13; `data_len` and `data_uptr` since 6.17.
struct abi_iommu_viommu_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t type;
  uint32_t dev_id;
  uint32_t hwpt_id;
  uint32_t out_viommu_id;
  uint32_t data_len;
  uint32_t reserved;
  uint64_t data_uptr;
};
_Static_assert(sizeof(struct abi_iommu_viommu_alloc) == 40, "iommu_viommu_alloc");
_Static_assert(offsetof(struct abi_iommu_viommu_alloc, data_uptr) == 32, "iommu_viommu_alloc");

/// Written by the kernel: what can be mapped of the context's descriptor.
struct abi_iommu_viommu_tegra241_cmdqv {
  uint64_t out_vintf_mmap_offset;
  uint64_t out_vintf_mmap_length;
};
_Static_assert(sizeof(struct abi_iommu_viommu_tegra241_cmdqv) == 16, "iommu_viommu_tegra241_cmdqv");

/// Linux 6.13.
struct abi_iommu_vdevice_alloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;
};
_Static_assert(sizeof(struct abi_iommu_vdevice_alloc) == 24, "iommu_vdevice_alloc");
_Static_assert(offsetof(struct abi_iommu_vdevice_alloc, virt_id) == 16, "iommu_vdevice_alloc");

/// Linux 6.15.
struct abi_iommu_veventq_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t veventq_depth;
  uint32_t out_veventq_id;
  uint32_t out_veventq_fd;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_veventq_alloc) == 32, "iommu_veventq_alloc");

/// What is read from an event queue begins with this; the event itself follows, unless events were lost.
struct abi_iommufd_vevent_header {
  uint32_t flags;
  uint32_t sequence;
};
_Static_assert(sizeof(struct abi_iommufd_vevent_header) == 8, "iommufd_vevent_header");

/// Little-endian.
struct abi_iommu_vevent_arm_smmuv3 {
  uint64_t evt[4];
};
_Static_assert(sizeof(struct abi_iommu_vevent_arm_smmuv3) == 32, "iommu_vevent_arm_smmuv3");

/// Little-endian.
struct abi_iommu_vevent_tegra241_cmdqv {
  uint64_t lvcmdq_err_map[2];
};
_Static_assert(sizeof(struct abi_iommu_vevent_tegra241_cmdqv) == 16, "iommu_vevent_tegra241_cmdqv");

/// Linux 6.17.
struct abi_iommu_hw_queue_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t index;
  uint32_t out_hw_queue_id;
  uint64_t nesting_parent_iova;
  uint64_t length;
};
_Static_assert(sizeof(struct abi_iommu_hw_queue_alloc) == 40, "iommu_hw_queue_alloc");
_Static_assert(offsetof(struct abi_iommu_hw_queue_alloc, length) == 32, "iommu_hw_queue_alloc");

/// The vendor's data is read, and what it has to tell is written there.
ABI_INLINE int abi_iommu_viommu_alloc(int fd, struct abi_iommu_viommu_alloc *command, void *data, uint32_t byteCount) {
  command->size = sizeof(*command);
  command->data_len = byteCount;
  command->data_uptr = byteCount == 0 ? 0 : (uint64_t)(uintptr_t)data;
  return abi_result(ioctl(fd, ABI_IOMMU_VIOMMU_ALLOC, command));
}
ABI_INLINE int abi_iommu_vdevice_alloc(int fd, struct abi_iommu_vdevice_alloc *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_VDEVICE_ALLOC, command));
}
ABI_INLINE int abi_iommu_veventq_alloc(int fd, struct abi_iommu_veventq_alloc *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_VEVENTQ_ALLOC, command));
}
ABI_INLINE int abi_iommu_hw_queue_alloc(int fd, struct abi_iommu_hw_queue_alloc *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_HW_QUEUE_ALLOC, command));
}
