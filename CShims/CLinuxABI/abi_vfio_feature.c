// SPDX-License-Identifier: Apache-2.0
#include "abi_vfio_feature.h"

// The longest structure is a dma-buf's with all its ranges; 64 KiB of them fit (4095).
enum { LONGEST = sizeof(struct abi_vfio_device_feature) + (1 << 16) };

int abi_vfio_device_feature(int fd, uint32_t feature, uint32_t method, void *data, uint32_t byteCount) {
  _Alignas(8) char message[LONGEST];
  struct abi_vfio_device_feature head = {.argsz = (uint32_t)sizeof(head) + byteCount, .flags = method | feature};
  if (byteCount > LONGEST - sizeof(head)) return -EINVAL;
  memcpy(message, &head, sizeof(head));
  if (byteCount > 0) memcpy(message + sizeof(head), data, byteCount);
  int result = abi_result(ioctl(fd, ABI_VFIO_DEVICE_FEATURE, message));
  // SET answers in the structure as well: a migration's descriptor, the page size of a log.
  if (result >= 0 && byteCount > 0) memcpy(data, message + sizeof(head), byteCount);
  return result;
}
