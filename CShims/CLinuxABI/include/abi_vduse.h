// SPDX-License-Identifier: Apache-2.0
// VDUSE: our own declarations of include/uapi/linux/vduse.h (facts of Linux 5.15 to 7.3). The control device makes
// devices; each device has a node of its own.
#pragma once
#include "abi_syscalls.h"

#define ABI_VDUSE_BASE 0x81

#define ABI_VDUSE_API_VERSION 0
#define ABI_VDUSE_API_VERSION_1 1
#define ABI_VDUSE_F_QUEUE_READY 0
#define ABI_VDUSE_F_SUSPEND 1
#define ABI_VDUSE_NAME_MAX 256

/// `config_size` bytes follow. `ngroups` and `nas` are zero before API version 1.
struct abi_vduse_dev_config {
  uint8_t name[256];
  uint32_t vendor_id;
  uint32_t device_id;
  uint64_t features;
  uint32_t vq_num;
  uint32_t vq_align;
  uint32_t ngroups;
  uint32_t nas;
  uint32_t reserved[11];
  uint32_t config_size;
  uint8_t config[];
};
_Static_assert(sizeof(struct abi_vduse_dev_config) == 336, "vduse_dev_config");
_Static_assert(offsetof(struct abi_vduse_dev_config, features) == 264, "vduse_dev_config");
_Static_assert(offsetof(struct abi_vduse_dev_config, config_size) == 332, "vduse_dev_config");

#define ABI_VDUSE_ACCESS_RO 0x1
#define ABI_VDUSE_ACCESS_WO 0x2
#define ABI_VDUSE_ACCESS_RW 0x3

/// The kernel leaves seven bytes at the end without a name.
struct abi_vduse_iotlb_entry {
  uint64_t offset;
  uint64_t start;
  uint64_t last;
  uint8_t perm;
};
_Static_assert(sizeof(struct abi_vduse_iotlb_entry) == 32, "vduse_iotlb_entry");

/// Linux 7.0, API version 1.
struct abi_vduse_iotlb_entry_v2 {
  uint64_t offset;
  uint64_t start;
  uint64_t last;
  uint8_t perm;
  uint8_t padding[7];
  uint32_t asid;
  uint32_t reserved[11];
};
_Static_assert(sizeof(struct abi_vduse_iotlb_entry_v2) == 80, "vduse_iotlb_entry_v2");

/// `length` bytes follow.
struct abi_vduse_config_data {
  uint32_t offset;
  uint32_t length;
  uint8_t buffer[];
};
_Static_assert(sizeof(struct abi_vduse_config_data) == 8, "vduse_config_data");

struct abi_vduse_vq_config {
  uint32_t index;
  uint16_t max_size;
  uint16_t reserved1;
  uint32_t group;
  uint16_t reserved2[10];
};
_Static_assert(sizeof(struct abi_vduse_vq_config) == 32, "vduse_vq_config");

/// A split ring has its available index at the place of the first field.
struct abi_vduse_vq_state_packed {
  uint16_t last_avail_counter;
  uint16_t last_avail_idx;
  uint16_t last_used_counter;
  uint16_t last_used_idx;
};
_Static_assert(sizeof(struct abi_vduse_vq_state_packed) == 8, "vduse_vq_state_packed");

/// The kernel leaves seven bytes at the end without a name.
struct abi_vduse_vq_info {
  uint32_t index;
  uint32_t num;
  uint64_t desc_addr;
  uint64_t driver_addr;
  uint64_t device_addr;
  struct abi_vduse_vq_state_packed packed;
  uint8_t ready;
};
_Static_assert(sizeof(struct abi_vduse_vq_info) == 48, "vduse_vq_info");
_Static_assert(offsetof(struct abi_vduse_vq_info, ready) == 40, "vduse_vq_info");

#define ABI_VDUSE_EVENTFD_DEASSIGN -1

struct abi_vduse_vq_eventfd {
  uint32_t index;
  int32_t fd;
};
_Static_assert(sizeof(struct abi_vduse_vq_eventfd) == 8, "vduse_vq_eventfd");

/// Linux 6.0.
struct abi_vduse_iova_umem {
  uint64_t uaddr;
  uint64_t iova;
  uint64_t size;
  uint32_t asid;
  uint32_t reserved[5];
};
_Static_assert(sizeof(struct abi_vduse_iova_umem) == 48, "vduse_iova_umem");

#define ABI_VDUSE_IOVA_CAP_UMEM (1 << 0)

/// Linux 6.0.
struct abi_vduse_iova_info {
  uint64_t start;
  uint64_t last;
  uint64_t capability;
  uint32_t asid;
  uint32_t reserved[5];
};
_Static_assert(sizeof(struct abi_vduse_iova_info) == 48, "vduse_iova_info");

// What is read from a device, and written to it in answer.

#define ABI_VDUSE_GET_VQ_STATE 0
#define ABI_VDUSE_SET_STATUS 1
#define ABI_VDUSE_UPDATE_IOTLB 2
#define ABI_VDUSE_SET_VQ_GROUP_ASID 3
#define ABI_VDUSE_SET_VQ_READY 4
#define ABI_VDUSE_SUSPEND 5
#define ABI_VDUSE_REQ_RESULT_OK 0x00
#define ABI_VDUSE_REQ_RESULT_FAILED 0x01

struct abi_vduse_vq_state {
  uint32_t index;
  struct abi_vduse_vq_state_packed packed;
};
_Static_assert(sizeof(struct abi_vduse_vq_state) == 12, "vduse_vq_state");

struct abi_vduse_dev_status {
  uint8_t status;
};
_Static_assert(sizeof(struct abi_vduse_dev_status) == 1, "vduse_dev_status");

/// Only the first two fields come before API version 1.
struct abi_vduse_iova_range_v2 {
  uint64_t start;
  uint64_t last;
  uint32_t asid;
  uint32_t padding;
};
_Static_assert(sizeof(struct abi_vduse_iova_range_v2) == 24, "vduse_iova_range_v2");

struct abi_vduse_vq_group_asid {
  uint32_t group;
  uint32_t asid;
};
_Static_assert(sizeof(struct abi_vduse_vq_group_asid) == 8, "vduse_vq_group_asid");

struct abi_vduse_vq_ready {
  uint32_t num;
  uint32_t ready;
};
_Static_assert(sizeof(struct abi_vduse_vq_ready) == 8, "vduse_vq_ready");

/// What a request is about is a union at the place of `padding`.
struct abi_vduse_dev_request {
  uint32_t type;
  uint32_t request_id;
  uint32_t reserved[4];
  uint32_t padding[32];
};
_Static_assert(sizeof(struct abi_vduse_dev_request) == 152, "vduse_dev_request");
_Static_assert(offsetof(struct abi_vduse_dev_request, padding) == 24, "vduse_dev_request");

/// The state of a queue, where it was asked for, is at the place of `padding`.
struct abi_vduse_dev_response {
  uint32_t request_id;
  uint32_t result;
  uint32_t reserved[4];
  uint32_t padding[32];
};
_Static_assert(sizeof(struct abi_vduse_dev_response) == 152, "vduse_dev_response");
_Static_assert(offsetof(struct abi_vduse_dev_response, padding) == 24, "vduse_dev_response");

#define ABI_VDUSE_GET_API_VERSION _IOR(ABI_VDUSE_BASE, 0x00, uint64_t)
#define ABI_VDUSE_SET_API_VERSION _IOW(ABI_VDUSE_BASE, 0x01, uint64_t)
#define ABI_VDUSE_CREATE_DEV _IOW(ABI_VDUSE_BASE, 0x02, struct abi_vduse_dev_config)
#define ABI_VDUSE_DESTROY_DEV _IOW(ABI_VDUSE_BASE, 0x03, char[ABI_VDUSE_NAME_MAX])
#define ABI_VDUSE_GET_FEATURES _IOR(ABI_VDUSE_BASE, 0x04, uint64_t)
#define ABI_VDUSE_SET_FEATURES _IOW(ABI_VDUSE_BASE, 0x05, uint64_t)
#define ABI_VDUSE_IOTLB_GET_FD _IOWR(ABI_VDUSE_BASE, 0x10, struct abi_vduse_iotlb_entry)
#define ABI_VDUSE_DEV_GET_FEATURES _IOR(ABI_VDUSE_BASE, 0x11, uint64_t)
#define ABI_VDUSE_DEV_SET_CONFIG _IOW(ABI_VDUSE_BASE, 0x12, struct abi_vduse_config_data)
#define ABI_VDUSE_DEV_INJECT_CONFIG_IRQ _IO(ABI_VDUSE_BASE, 0x13)
#define ABI_VDUSE_VQ_SETUP _IOW(ABI_VDUSE_BASE, 0x14, struct abi_vduse_vq_config)
#define ABI_VDUSE_VQ_GET_INFO _IOWR(ABI_VDUSE_BASE, 0x15, struct abi_vduse_vq_info)
#define ABI_VDUSE_VQ_SETUP_KICKFD _IOW(ABI_VDUSE_BASE, 0x16, struct abi_vduse_vq_eventfd)
#define ABI_VDUSE_VQ_INJECT_IRQ _IOW(ABI_VDUSE_BASE, 0x17, uint32_t)
#define ABI_VDUSE_IOTLB_REG_UMEM _IOW(ABI_VDUSE_BASE, 0x18, struct abi_vduse_iova_umem)
#define ABI_VDUSE_IOTLB_DEREG_UMEM _IOW(ABI_VDUSE_BASE, 0x19, struct abi_vduse_iova_umem)
#define ABI_VDUSE_IOTLB_GET_INFO _IOWR(ABI_VDUSE_BASE, 0x1a, struct abi_vduse_iova_info)
#define ABI_VDUSE_IOTLB_GET_FD2 _IOWR(ABI_VDUSE_BASE, 0x1b, struct abi_vduse_iotlb_entry_v2)

// The control device.

ABI_INLINE int abi_vduse_get_api_version(int fd, uint64_t *version) {
  return abi_result(ioctl(fd, ABI_VDUSE_GET_API_VERSION, version));
}
ABI_INLINE int abi_vduse_set_api_version(int fd, uint64_t version) {
  return abi_result(ioctl(fd, ABI_VDUSE_SET_API_VERSION, &version));
}
ABI_INLINE int abi_vduse_get_features(int fd, uint64_t *features) {
  return abi_result(ioctl(fd, ABI_VDUSE_GET_FEATURES, features));
}
ABI_INLINE int abi_vduse_set_features(int fd, uint64_t features) {
  return abi_result(ioctl(fd, ABI_VDUSE_SET_FEATURES, &features));
}
/// `config` is a `abi_vduse_dev_config` with its `config_size` bytes behind it.
ABI_INLINE int abi_vduse_create_dev(int fd, const void *config) {
  return abi_result(ioctl(fd, ABI_VDUSE_CREATE_DEV, config));
}
/// `name` has 256 bytes, zeroes at its end.
ABI_INLINE int abi_vduse_destroy_dev(int fd, const void *name) {
  return abi_result(ioctl(fd, ABI_VDUSE_DESTROY_DEV, name));
}

// A device.

ABI_INLINE int abi_vduse_dev_get_features(int fd, uint64_t *features) {
  return abi_result(ioctl(fd, ABI_VDUSE_DEV_GET_FEATURES, features));
}
/// `data` is a `abi_vduse_config_data` with its `length` bytes behind it.
ABI_INLINE int abi_vduse_dev_set_config(int fd, const void *data) {
  return abi_result(ioctl(fd, ABI_VDUSE_DEV_SET_CONFIG, data));
}
ABI_INLINE int abi_vduse_dev_inject_config_irq(int fd) {
  return abi_result(ioctl(fd, ABI_VDUSE_DEV_INJECT_CONFIG_IRQ));
}
ABI_INLINE int abi_vduse_vq_setup(int fd, const struct abi_vduse_vq_config *config) {
  return abi_result(ioctl(fd, ABI_VDUSE_VQ_SETUP, config));
}
ABI_INLINE int abi_vduse_vq_get_info(int fd, struct abi_vduse_vq_info *info) {
  return abi_result(ioctl(fd, ABI_VDUSE_VQ_GET_INFO, info));
}
ABI_INLINE int abi_vduse_vq_setup_kickfd(int fd, uint32_t index, int event) {
  struct abi_vduse_vq_eventfd command = {.index = index, .fd = event};
  return abi_result(ioctl(fd, ABI_VDUSE_VQ_SETUP_KICKFD, &command));
}
ABI_INLINE int abi_vduse_vq_inject_irq(int fd, uint32_t index) {
  return abi_result(ioctl(fd, ABI_VDUSE_VQ_INJECT_IRQ, &index));
}
/// The descriptor of the entry's file; `entry` comes back with the whole entry.
ABI_INLINE int abi_vduse_iotlb_get_fd(int fd, struct abi_vduse_iotlb_entry *entry) {
  return abi_result(ioctl(fd, ABI_VDUSE_IOTLB_GET_FD, entry));
}
ABI_INLINE int abi_vduse_iotlb_get_fd2(int fd, struct abi_vduse_iotlb_entry_v2 *entry) {
  return abi_result(ioctl(fd, ABI_VDUSE_IOTLB_GET_FD2, entry));
}
ABI_INLINE int abi_vduse_iotlb_get_info(int fd, struct abi_vduse_iova_info *info) {
  return abi_result(ioctl(fd, ABI_VDUSE_IOTLB_GET_INFO, info));
}
ABI_INLINE int abi_vduse_iotlb_reg_umem(int fd, const struct abi_vduse_iova_umem *memory) {
  return abi_result(ioctl(fd, ABI_VDUSE_IOTLB_REG_UMEM, memory));
}
ABI_INLINE int abi_vduse_iotlb_dereg_umem(int fd, const struct abi_vduse_iova_umem *memory) {
  return abi_result(ioctl(fd, ABI_VDUSE_IOTLB_DEREG_UMEM, memory));
}
