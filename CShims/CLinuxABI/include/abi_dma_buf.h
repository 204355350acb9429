// SPDX-License-Identifier: Apache-2.0
// dma-bufs: our own declarations of include/uapi/linux/dma-buf.h (facts of Linux 4.6 to 7.3).
#pragma once
#include "abi_syscalls.h"

#define ABI_DMA_BUF_SYNC_READ (1u << 0)
#define ABI_DMA_BUF_SYNC_WRITE (2u << 0)
#define ABI_DMA_BUF_SYNC_START (0u << 2)
#define ABI_DMA_BUF_SYNC_END (1u << 2)

struct abi_dma_buf_sync {
  uint64_t flags;
};
_Static_assert(sizeof(struct abi_dma_buf_sync) == 8, "dma_buf_sync");

#define ABI_DMA_BUF_IOCTL_SYNC _IOW('b', 0, struct abi_dma_buf_sync)

/// Begins or ends an access of the processor to a mapped dma-buf.
ABI_INLINE int abi_dma_buf_sync(int fd, uint64_t flags) {
  struct abi_dma_buf_sync command = {.flags = flags};
  return abi_result(ioctl(fd, ABI_DMA_BUF_IOCTL_SYNC, &command));
}
/// The length of a dma-buf in bytes, as its exporter made it. Other files answer for themselves.
ABI_INLINE int64_t abi_dma_buf_size(int fd) { return abi_result64(lseek(fd, 0, SEEK_END)); }
