// SPDX-License-Identifier: Apache-2.0
// VFIO: our own declarations of the structures and numbers of include/uapi/linux/vfio.h (facts of Linux
// 3.6 to 7.3). Each call fills `argsz` itself; a call that takes a buffer is told the buffer's size.
#pragma once
#include <string.h>

#include "abi_syscalls.h"

#define ABI_VFIO_TYPE ';'
#define ABI_VFIO_BASE 100
#define ABI_VFIO_GET_API_VERSION _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 0)
#define ABI_VFIO_CHECK_EXTENSION _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 1)
#define ABI_VFIO_SET_IOMMU _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 2)
#define ABI_VFIO_GROUP_GET_STATUS _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 3)
#define ABI_VFIO_GROUP_SET_CONTAINER _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 4)
#define ABI_VFIO_GROUP_UNSET_CONTAINER _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 5)
#define ABI_VFIO_GROUP_GET_DEVICE_FD _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 6)
#define ABI_VFIO_DEVICE_GET_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 7)
#define ABI_VFIO_DEVICE_GET_REGION_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 8)
#define ABI_VFIO_DEVICE_GET_IRQ_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 9)
#define ABI_VFIO_DEVICE_SET_IRQS _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 10)
#define ABI_VFIO_DEVICE_RESET _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 11)
#define ABI_VFIO_IOMMU_GET_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 12)
#define ABI_VFIO_IOMMU_MAP_DMA _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 13)
#define ABI_VFIO_IOMMU_UNMAP_DMA _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 14)
#define ABI_VFIO_DEVICE_BIND_IOMMUFD _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 18)
#define ABI_VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 19)
#define ABI_VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 20)

#define ABI_VFIO_API_VERSION 0
#define ABI_VFIO_TYPE1_IOMMU 1u
#define ABI_VFIO_TYPE1v2_IOMMU 3u

#define ABI_VFIO_GROUP_FLAGS_VIABLE (1u << 0)
#define ABI_VFIO_GROUP_FLAGS_CONTAINER_SET (1u << 1)
#define ABI_VFIO_DEVICE_FLAGS_RESET (1u << 0)
#define ABI_VFIO_DEVICE_FLAGS_PCI (1u << 1)
#define ABI_VFIO_DEVICE_FLAGS_CAPS (1u << 7)
#define ABI_VFIO_REGION_INFO_FLAG_READ (1u << 0)
#define ABI_VFIO_REGION_INFO_FLAG_WRITE (1u << 1)
#define ABI_VFIO_REGION_INFO_FLAG_MMAP (1u << 2)
#define ABI_VFIO_REGION_INFO_FLAG_CAPS (1u << 3)
#define ABI_VFIO_REGION_INFO_CAP_SPARSE_MMAP 1u
#define ABI_VFIO_REGION_INFO_CAP_MSIX_MAPPABLE 3u
#define ABI_VFIO_IRQ_INFO_EVENTFD (1u << 0)
#define ABI_VFIO_IRQ_INFO_MASKABLE (1u << 1)
#define ABI_VFIO_IRQ_INFO_AUTOMASKED (1u << 2)
#define ABI_VFIO_IRQ_INFO_NORESIZE (1u << 3)
#define ABI_VFIO_IRQ_SET_DATA_NONE (1u << 0)
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
#define ABI_VFIO_IOMMU_INFO_PGSIZES (1u << 0)
#define ABI_VFIO_IOMMU_INFO_CAPS (1u << 1)
#define ABI_VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE 1u
#define ABI_VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL 3u
#define ABI_VFIO_DMA_MAP_FLAG_READ (1u << 0)
#define ABI_VFIO_DMA_MAP_FLAG_WRITE (1u << 1)
#define ABI_VFIO_DMA_UNMAP_FLAG_ALL (1u << 1)

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

struct abi_vfio_iommu_type1_dma_map {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;
  uint64_t iova;
  uint64_t size;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_dma_map) == 32, "vfio_iommu_type1_dma_map");

/// A dirty bitmap may follow; this project's calls never ask for one.
struct abi_vfio_iommu_type1_dma_unmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;
};
_Static_assert(sizeof(struct abi_vfio_iommu_type1_dma_unmap) == 24, "vfio_iommu_type1_dma_unmap");

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

// Container.
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
ABI_INLINE int abi_vfio_device_get_info(int fd, struct abi_vfio_device_info *info) {
  info->argsz = sizeof(*info);
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_GET_INFO, info));
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
ABI_INLINE int abi_vfio_device_reset(int fd) { return abi_result(ioctl(fd, ABI_VFIO_DEVICE_RESET)); }

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
/// Arms vectors `start ..< start + count` with one eventfd each; -1 takes a vector's eventfd away. MSI-X has
/// at most 2048 vectors (PCI Express 6.0, 7.7.2), so the message fits the stack.
ABI_INLINE int abi_vfio_device_set_irqs_eventfd(int fd, uint32_t index, uint32_t start, uint32_t count,
                                                const int32_t *eventfds) {
  struct {
    struct abi_vfio_irq_set head;
    int32_t data[2048];
  } set;
  if (count > 2048) return -EINVAL;
  set.head = (struct abi_vfio_irq_set){.argsz = (uint32_t)(sizeof(set.head) + count * sizeof(int32_t)),
                                       .flags = ABI_VFIO_IRQ_SET_DATA_EVENTFD | ABI_VFIO_IRQ_SET_ACTION_TRIGGER,
                                       .index = index,
                                       .start = start,
                                       .count = count};
  memcpy(set.data, eventfds, count * sizeof(int32_t));
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_SET_IRQS, &set));
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
