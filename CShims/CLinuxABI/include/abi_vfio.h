// SPDX-License-Identifier: Apache-2.0
// VFIO, groups and devices: our own declarations of the structures and numbers of include/uapi/linux/vfio.h
// (facts of Linux 3.6 to 7.3). Each call fills `argsz` itself; a call that takes a buffer is told the buffer's
// size. The container's half is in abi_vfio_container.h, resets in abi_vfio_reset.h, features in
// abi_vfio_feature.h.
#pragma once
#include <string.h>

#include "abi_syscalls.h"

#define ABI_VFIO_TYPE ';'
#define ABI_VFIO_BASE 100
#define ABI_VFIO_GROUP_GET_STATUS _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 3)
#define ABI_VFIO_GROUP_SET_CONTAINER _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 4)
#define ABI_VFIO_GROUP_UNSET_CONTAINER _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 5)
#define ABI_VFIO_GROUP_GET_DEVICE_FD _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 6)
#define ABI_VFIO_DEVICE_GET_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 7)
#define ABI_VFIO_DEVICE_GET_REGION_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 8)
#define ABI_VFIO_DEVICE_GET_IRQ_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 9)
#define ABI_VFIO_DEVICE_SET_IRQS _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 10)
#define ABI_VFIO_DEVICE_IOEVENTFD _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 16)
#define ABI_VFIO_DEVICE_BIND_IOMMUFD _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 18)
#define ABI_VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 19)
#define ABI_VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 20)

#define ABI_VFIO_GROUP_FLAGS_VIABLE (1u << 0)
#define ABI_VFIO_GROUP_FLAGS_CONTAINER_SET (1u << 1)
#define ABI_VFIO_DEVICE_FLAGS_RESET (1u << 0)
#define ABI_VFIO_DEVICE_FLAGS_PCI (1u << 1)
#define ABI_VFIO_DEVICE_FLAGS_CAPS (1u << 7)
#define ABI_VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP 5u
#define ABI_VFIO_PCI_ATOMIC_COMP32 (1u << 0)
#define ABI_VFIO_PCI_ATOMIC_COMP64 (1u << 1)
#define ABI_VFIO_PCI_ATOMIC_COMP128 (1u << 2)
#define ABI_VFIO_REGION_INFO_FLAG_READ (1u << 0)
#define ABI_VFIO_REGION_INFO_FLAG_WRITE (1u << 1)
#define ABI_VFIO_REGION_INFO_FLAG_MMAP (1u << 2)
#define ABI_VFIO_REGION_INFO_FLAG_CAPS (1u << 3)
#define ABI_VFIO_REGION_INFO_CAP_SPARSE_MMAP 1u
#define ABI_VFIO_REGION_INFO_CAP_TYPE 2u
#define ABI_VFIO_REGION_INFO_CAP_MSIX_MAPPABLE 3u
#define ABI_VFIO_REGION_TYPE_PCI_VENDOR_TYPE (1 << 31)
#define ABI_VFIO_REGION_TYPE_PCI_VENDOR_MASK 0xffffu
#define ABI_VFIO_REGION_TYPE_GFX 1u
#define ABI_VFIO_REGION_SUBTYPE_GFX_EDID 1u
#define ABI_VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION 1u
#define ABI_VFIO_REGION_SUBTYPE_INTEL_IGD_HOST_CFG 2u
#define ABI_VFIO_REGION_SUBTYPE_INTEL_IGD_LPC_CFG 3u
#define ABI_VFIO_IRQ_INFO_EVENTFD (1u << 0)
#define ABI_VFIO_IRQ_INFO_MASKABLE (1u << 1)
#define ABI_VFIO_IRQ_INFO_AUTOMASKED (1u << 2)
#define ABI_VFIO_IRQ_INFO_NORESIZE (1u << 3)
#define ABI_VFIO_IRQ_SET_DATA_NONE (1u << 0)
#define ABI_VFIO_IRQ_SET_DATA_BOOL (1u << 1)
#define ABI_VFIO_IRQ_SET_DATA_EVENTFD (1u << 2)
#define ABI_VFIO_IRQ_SET_ACTION_MASK (1u << 3)
#define ABI_VFIO_IRQ_SET_ACTION_UNMASK (1u << 4)
#define ABI_VFIO_IRQ_SET_ACTION_TRIGGER (1u << 5)
#define ABI_VFIO_PCI_BAR0_REGION_INDEX 0u
#define ABI_VFIO_PCI_ROM_REGION_INDEX 6u
#define ABI_VFIO_PCI_CONFIG_REGION_INDEX 7u
#define ABI_VFIO_PCI_VGA_REGION_INDEX 8u
#define ABI_VFIO_PCI_INTX_IRQ_INDEX 0u
#define ABI_VFIO_PCI_MSI_IRQ_INDEX 1u
#define ABI_VFIO_PCI_MSIX_IRQ_INDEX 2u
#define ABI_VFIO_PCI_ERR_IRQ_INDEX 3u
#define ABI_VFIO_PCI_REQ_IRQ_INDEX 4u
#define ABI_VFIO_DEVICE_IOEVENTFD_8 (1u << 0)
#define ABI_VFIO_DEVICE_IOEVENTFD_16 (1u << 1)
#define ABI_VFIO_DEVICE_IOEVENTFD_32 (1u << 2)
#define ABI_VFIO_DEVICE_IOEVENTFD_64 (1u << 3)
#define ABI_VFIO_DEVICE_BIND_FLAG_TOKEN (1u << 0)
#define ABI_VFIO_DEVICE_ATTACH_PASID (1u << 0)
#define ABI_VFIO_DEVICE_DETACH_PASID (1u << 0)

struct abi_vfio_info_cap_header {
  uint16_t id;
  uint16_t version;
  uint32_t next;
};
_Static_assert(sizeof(struct abi_vfio_info_cap_header) == 8, "vfio_info_cap_header");

struct abi_vfio_group_status {
  uint32_t argsz;
  uint32_t flags;
};
_Static_assert(sizeof(struct abi_vfio_group_status) == 8, "vfio_group_status");

struct abi_vfio_device_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
  uint32_t cap_offset;
  uint32_t pad;
};
_Static_assert(sizeof(struct abi_vfio_device_info) == 24, "vfio_device_info");
_Static_assert(offsetof(struct abi_vfio_device_info, cap_offset) == 16, "vfio_device_info");

struct abi_vfio_region_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;
  uint64_t offset;
};
_Static_assert(sizeof(struct abi_vfio_region_info) == 32, "vfio_region_info");
_Static_assert(offsetof(struct abi_vfio_region_info, size) == 16, "vfio_region_info");

struct abi_vfio_region_sparse_mmap_area {
  uint64_t offset;
  uint64_t size;
};
_Static_assert(sizeof(struct abi_vfio_region_sparse_mmap_area) == 16, "vfio_region_sparse_mmap_area");

/// Followed by `nr_areas` areas.
struct abi_vfio_region_info_cap_sparse_mmap {
  struct abi_vfio_info_cap_header header;
  uint32_t nr_areas;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_vfio_region_info_cap_sparse_mmap) == 16, "vfio_region_info_cap_sparse_mmap");

struct abi_vfio_region_info_cap_type {
  struct abi_vfio_info_cap_header header;
  uint32_t type;
  uint32_t subtype;
};
_Static_assert(sizeof(struct abi_vfio_region_info_cap_type) == 16, "vfio_region_info_cap_type");

struct abi_vfio_device_info_cap_pci_atomic_comp {
  struct abi_vfio_info_cap_header header;
  uint32_t flags;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_vfio_device_info_cap_pci_atomic_comp) == 16, "vfio_device_info_cap_pci_atomic_comp");

/// `offset` is the device file's; `fd` -1 takes the pair of offset and data away.
struct abi_vfio_device_ioeventfd {
  uint32_t argsz;
  uint32_t flags;
  uint64_t offset;
  uint64_t data;
  int32_t fd;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_vfio_device_ioeventfd) == 32, "vfio_device_ioeventfd");
_Static_assert(offsetof(struct abi_vfio_device_ioeventfd, fd) == 24, "vfio_device_ioeventfd");

struct abi_vfio_irq_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t count;
};
_Static_assert(sizeof(struct abi_vfio_irq_info) == 16, "vfio_irq_info");

/// Followed by `count` items of data.
struct abi_vfio_irq_set {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t start;
  uint32_t count;
};
_Static_assert(sizeof(struct abi_vfio_irq_set) == 20, "vfio_irq_set");

/// Linux 6.6; `token_uuid_ptr` since 6.17. Older kernels read the first 16 bytes and accept the size.
struct abi_vfio_device_bind_iommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;
};
_Static_assert(sizeof(struct abi_vfio_device_bind_iommufd) == 24, "vfio_device_bind_iommufd");
_Static_assert(offsetof(struct abi_vfio_device_bind_iommufd, out_devid) == 12, "vfio_device_bind_iommufd");

/// Linux 6.6; `pasid` since 6.15, read only when its flag is set.
struct abi_vfio_device_attach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;
  uint32_t pasid;
};
_Static_assert(sizeof(struct abi_vfio_device_attach_iommufd_pt) == 16, "vfio_device_attach_iommufd_pt");

struct abi_vfio_device_detach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;
};
_Static_assert(sizeof(struct abi_vfio_device_detach_iommufd_pt) == 12, "vfio_device_detach_iommufd_pt");

// Group.
ABI_INLINE int abi_vfio_group_get_status(int fd, struct abi_vfio_group_status *status) {
  status->argsz = sizeof(*status);
  return abi_result(ioctl(fd, ABI_VFIO_GROUP_GET_STATUS, status));
}
ABI_INLINE int abi_vfio_group_set_container(int fd, int container) {
  return abi_result(ioctl(fd, ABI_VFIO_GROUP_SET_CONTAINER, &container));
}
ABI_INLINE int abi_vfio_group_unset_container(int fd) { return abi_result(ioctl(fd, ABI_VFIO_GROUP_UNSET_CONTAINER)); }
ABI_INLINE int abi_vfio_group_get_device_fd(int fd, const char *name) {
  return abi_result(ioctl(fd, ABI_VFIO_GROUP_GET_DEVICE_FD, name));
}

// Device.
/// Fills at most `byteCount` bytes; `argsz` comes back as the size that the whole answer needs.
ABI_INLINE int abi_vfio_device_get_info(int fd, void *buffer, uint32_t byteCount) {
  struct abi_vfio_device_info head = {.argsz = byteCount};
  memcpy(buffer, &head, sizeof(head));
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_GET_INFO, buffer));
}
/// Fills at most `byteCount` bytes; `argsz` comes back as the size that the whole answer needs.
ABI_INLINE int abi_vfio_device_get_region_info(int fd, uint32_t index, void *buffer, uint32_t byteCount) {
  struct abi_vfio_region_info head = {.argsz = byteCount, .index = index};
  memcpy(buffer, &head, sizeof(head));
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_GET_REGION_INFO, buffer));
}
ABI_INLINE int abi_vfio_device_get_irq_info(int fd, struct abi_vfio_irq_info *info) {
  info->argsz = sizeof(*info);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_GET_IRQ_INFO, info));
}

/// Every use of SET_IRQS that carries no data. `count == 0` with TRIGGER disables the whole index, while
/// `count > 0` fires: the callers' names keep the two apart.
ABI_INLINE int abi_vfio_device_set_irqs_none(int fd, uint32_t action, uint32_t index, uint32_t start, uint32_t count) {
  struct abi_vfio_irq_set set = {.argsz = sizeof(set),
                                 .flags = ABI_VFIO_IRQ_SET_DATA_NONE | action,
                                 .index = index,
                                 .start = start,
                                 .count = count};
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_SET_IRQS, &set));
}
/// Triggers, masks or unmasks those of vectors `start ..< start + count` whose byte is not 0.
ABI_INLINE int abi_vfio_device_set_irqs_bool(int fd, uint32_t action, uint32_t index, uint32_t start, uint32_t count,
                                             const uint8_t *chosen) {
  struct {
    struct abi_vfio_irq_set head;
    uint8_t data[2048];
  } set;
  if (count > 2048) return -EINVAL;
  set.head = (struct abi_vfio_irq_set){.argsz = (uint32_t)(sizeof(set.head) + count),
                                       .flags = ABI_VFIO_IRQ_SET_DATA_BOOL | action,
                                       .index = index,
                                       .start = start,
                                       .count = count};
  memcpy(set.data, chosen, count);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_SET_IRQS, &set));
}
/// Gives vectors `start ..< start + count` one eventfd each; -1 takes a vector's eventfd away. With the action
/// TRIGGER the kernel signals it for each interrupt; with MASK or UNMASK it listens to it. MSI-X has at most
/// 2048 vectors (PCI Express 6.0, 7.7.2), so the message fits the stack.
ABI_INLINE int abi_vfio_device_set_irqs_eventfd(int fd, uint32_t action, uint32_t index, uint32_t start,
                                                uint32_t count, const int32_t *eventfds) {
  struct {
    struct abi_vfio_irq_set head;
    int32_t data[2048];
  } set;
  if (count > 2048) return -EINVAL;
  set.head = (struct abi_vfio_irq_set){.argsz = (uint32_t)(sizeof(set.head) + count * sizeof(int32_t)),
                                       .flags = ABI_VFIO_IRQ_SET_DATA_EVENTFD | action,
                                       .index = index,
                                       .start = start,
                                       .count = count};
  memcpy(set.data, eventfds, count * sizeof(int32_t));
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_SET_IRQS, &set));
}

ABI_INLINE int abi_vfio_device_ioeventfd(int fd, struct abi_vfio_device_ioeventfd *event) {
  event->argsz = sizeof(*event);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_IOEVENTFD, event));
}

// The device's own node (cdev), Linux 6.6.
ABI_INLINE int abi_vfio_device_bind_iommufd(int fd, struct abi_vfio_device_bind_iommufd *bind) {
  bind->argsz = sizeof(*bind);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_BIND_IOMMUFD, bind));
}
ABI_INLINE int abi_vfio_device_attach_iommufd_pt(int fd, struct abi_vfio_device_attach_iommufd_pt *attach) {
  attach->argsz = sizeof(*attach);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach));
}
ABI_INLINE int abi_vfio_device_detach_iommufd_pt(int fd, struct abi_vfio_device_detach_iommufd_pt *detach) {
  detach->argsz = sizeof(*detach);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_DETACH_IOMMUFD_PT, detach));
}
