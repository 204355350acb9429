// SPDX-License-Identifier: Apache-2.0
// iommufd: what else can be done to an address space, and to a context; see abi_iommufd.h.
#pragma once
#include "abi_iommufd.h"

#define ABI_IOMMU_IOAS_ALLOW_IOVAS _IO(ABI_IOMMUFD_TYPE, 0x82)
#define ABI_IOMMU_IOAS_COPY _IO(ABI_IOMMUFD_TYPE, 0x83)
#define ABI_IOMMU_OPTION _IO(ABI_IOMMUFD_TYPE, 0x87)
#define ABI_IOMMU_VFIO_IOAS _IO(ABI_IOMMUFD_TYPE, 0x88)
#define ABI_IOMMU_IOAS_CHANGE_PROCESS _IO(ABI_IOMMUFD_TYPE, 0x92)

#define ABI_IOMMU_OPTION_RLIMIT_MODE 0u
#define ABI_IOMMU_OPTION_HUGE_PAGES 1u
#define ABI_IOMMU_OPTION_OP_SET 0u
#define ABI_IOMMU_OPTION_OP_GET 1u
#define ABI_IOMMU_VFIO_IOAS_GET 0u
#define ABI_IOMMU_VFIO_IOAS_SET 1u
#define ABI_IOMMU_VFIO_IOAS_CLEAR 2u

struct abi_iommu_ioas_allow_iovas {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;
};
_Static_assert(sizeof(struct abi_iommu_ioas_allow_iovas) == 24, "iommu_ioas_allow_iovas");
_Static_assert(offsetof(struct abi_iommu_ioas_allow_iovas, allowed_iovas) == 16, "iommu_ioas_allow_iovas");

struct abi_iommu_ioas_copy {
  uint32_t size;
  uint32_t flags;
  uint32_t dst_ioas_id;
  uint32_t src_ioas_id;
  uint64_t length;
  uint64_t dst_iova;
  uint64_t src_iova;
};
_Static_assert(sizeof(struct abi_iommu_ioas_copy) == 40, "iommu_ioas_copy");
_Static_assert(offsetof(struct abi_iommu_ioas_copy, length) == 16, "iommu_ioas_copy");

struct abi_iommu_option {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t reserved;
  uint32_t object_id;
  uint64_t val64;
};
_Static_assert(sizeof(struct abi_iommu_option) == 24, "iommu_option");
_Static_assert(offsetof(struct abi_iommu_option, object_id) == 12, "iommu_option");
_Static_assert(offsetof(struct abi_iommu_option, val64) == 16, "iommu_option");

struct abi_iommu_vfio_ioas {
  uint32_t size;
  uint32_t ioas_id;
  uint16_t op;
  uint16_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_vfio_ioas) == 12, "iommu_vfio_ioas");
_Static_assert(offsetof(struct abi_iommu_vfio_ioas, op) == 8, "iommu_vfio_ioas");

/// Linux 6.14.
struct abi_iommu_ioas_change_process {
  uint32_t size;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_ioas_change_process) == 8, "iommu_ioas_change_process");

ABI_INLINE int abi_iommu_ioas_allow_iovas(int fd, uint32_t ioas_id, const struct abi_iommu_iova_range *ranges,
                                          uint32_t count) {
  struct abi_iommu_ioas_allow_iovas command = {.size = sizeof(command),
                                               .ioas_id = ioas_id,
                                               .num_iovas = count,
                                               .allowed_iovas = (uint64_t)(uintptr_t)ranges};
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_ALLOW_IOVAS, &command));
}
ABI_INLINE int abi_iommu_ioas_copy(int fd, struct abi_iommu_ioas_copy *command) {
  command->size = sizeof(*command);
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_COPY, command));
}
/// Sets an option of an object, or of the context where `object_id` is 0.
ABI_INLINE int abi_iommu_option_set(int fd, uint32_t option_id, uint32_t object_id, uint64_t value) {
  struct abi_iommu_option command = {.size = sizeof(command),
                                     .option_id = option_id,
                                     .op = ABI_IOMMU_OPTION_OP_SET,
                                     .object_id = object_id,
                                     .val64 = value};
  return abi_result(ioctl(fd, ABI_IOMMU_OPTION, &command));
}
ABI_INLINE int abi_iommu_option_get(int fd, uint32_t option_id, uint32_t object_id, uint64_t *value) {
  struct abi_iommu_option command = {
      .size = sizeof(command), .option_id = option_id, .op = ABI_IOMMU_OPTION_OP_GET, .object_id = object_id};
  int result = abi_result(ioctl(fd, ABI_IOMMU_OPTION, &command));
  if (result >= 0) *value = command.val64;
  return result;
}
/// `*ioas_id` goes in for SET and comes out of GET.
ABI_INLINE int abi_iommu_vfio_ioas(int fd, uint32_t op, uint32_t *ioas_id) {
  struct abi_iommu_vfio_ioas command = {.size = sizeof(command), .ioas_id = *ioas_id, .op = (uint16_t)op};
  int result = abi_result(ioctl(fd, ABI_IOMMU_VFIO_IOAS, &command));
  if (result >= 0) *ioas_id = command.ioas_id;
  return result;
}
ABI_INLINE int abi_iommu_ioas_change_process(int fd) {
  struct abi_iommu_ioas_change_process command = {.size = sizeof(command)};
  return abi_result(ioctl(fd, ABI_IOMMU_IOAS_CHANGE_PROCESS, &command));
}
