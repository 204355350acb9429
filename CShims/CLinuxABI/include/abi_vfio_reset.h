// SPDX-License-Identifier: Apache-2.0
// VFIO's resets of one device and of a bus or slot: see abi_vfio.h.
#pragma once
#include "abi_vfio.h"

#define ABI_VFIO_DEVICE_RESET _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 11)
#define ABI_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 12)
#define ABI_VFIO_DEVICE_PCI_HOT_RESET _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 13)

#define ABI_VFIO_PCI_DEVID_OWNED 0
#define ABI_VFIO_PCI_DEVID_NOT_OWNED -1
#define ABI_VFIO_PCI_HOT_RESET_FLAG_DEV_ID (1u << 0)
#define ABI_VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED (1u << 1)

/// `id` is the number of a group, or of a device in the iommufd of the one that was asked.
struct abi_vfio_pci_dependent_device {
  uint32_t id;
  uint16_t segment;
  uint8_t bus;
  uint8_t devfn;
};
_Static_assert(sizeof(struct abi_vfio_pci_dependent_device) == 8, "vfio_pci_dependent_device");

/// Followed by `count` dependent devices.
struct abi_vfio_pci_hot_reset_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t count;
};
_Static_assert(sizeof(struct abi_vfio_pci_hot_reset_info) == 12, "vfio_pci_hot_reset_info");

/// Followed by `count` descriptors of groups; none for a device that was opened by its own node.
struct abi_vfio_pci_hot_reset {
  uint32_t argsz;
  uint32_t flags;
  uint32_t count;
};
_Static_assert(sizeof(struct abi_vfio_pci_hot_reset) == 12, "vfio_pci_hot_reset");

ABI_INLINE int abi_vfio_device_reset(int fd) { return abi_result(ioctl(fd, ABI_VFIO_DEVICE_RESET)); }
/// Fills at most `byteCount` bytes. Unlike other answers, `argsz` does not grow: ENOSPC, with `count` set, says
/// that the buffer is too short.
ABI_INLINE int abi_vfio_device_get_pci_hot_reset_info(int fd, void *buffer, uint32_t byteCount) {
  struct abi_vfio_pci_hot_reset_info head = {.argsz = byteCount};
  memcpy(buffer, &head, sizeof(head));
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, buffer));
}
/// A bus has at most 256 functions, so the message fits the stack.
ABI_INLINE int abi_vfio_device_pci_hot_reset(int fd, const int32_t *groups, uint32_t count) {
  struct {
    struct abi_vfio_pci_hot_reset head;
    int32_t descriptors[256];
  } reset;
  if (count > 256) return -EINVAL;
  reset.head = (struct abi_vfio_pci_hot_reset){.argsz = (uint32_t)(sizeof(reset.head) + count * sizeof(int32_t)),
                                               .count = count};
  if (count > 0) memcpy(reset.descriptors, groups, count * sizeof(int32_t));
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_PCI_HOT_RESET, &reset));
}
