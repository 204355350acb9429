// SPDX-License-Identifier: Apache-2.0
// Facts of a file: our own declarations of include/uapi/linux/stat.h (Linux 4.11 to 7.3).
#pragma once
#include "abi_syscalls.h"

/// Asks for stx_dio_mem_align and stx_dio_offset_align; Linux 6.1.
#define ABI_STATX_DIOALIGN 0x2000U

struct abi_statx_timestamp {
  int64_t tv_sec;
  uint32_t tv_nsec;
  int32_t reserved;
};
_Static_assert(sizeof(struct abi_statx_timestamp) == 16, "statx_timestamp");

struct abi_statx {
  uint32_t stx_mask;
  uint32_t stx_blksize;
  uint64_t stx_attributes;
  uint32_t stx_nlink;
  uint32_t stx_uid;
  uint32_t stx_gid;
  uint16_t stx_mode;
  uint16_t spare0[1];
  uint64_t stx_ino;
  uint64_t stx_size;
  uint64_t stx_blocks;
  uint64_t stx_attributes_mask;
  struct abi_statx_timestamp stx_atime;
  struct abi_statx_timestamp stx_btime;
  struct abi_statx_timestamp stx_ctime;
  struct abi_statx_timestamp stx_mtime;
  uint32_t stx_rdev_major;
  uint32_t stx_rdev_minor;
  uint32_t stx_dev_major;
  uint32_t stx_dev_minor;
  uint64_t stx_mnt_id;
  uint32_t stx_dio_mem_align;
  uint32_t stx_dio_offset_align;
  uint64_t stx_subvol;
  uint32_t stx_atomic_write_unit_min;
  uint32_t stx_atomic_write_unit_max;
  uint32_t stx_atomic_write_segments_max;
  uint32_t stx_dio_read_offset_align;
  uint32_t stx_atomic_write_unit_max_opt;
  uint32_t spare2[1];
  uint64_t spare3[8];
};
_Static_assert(sizeof(struct abi_statx) == 256, "statx");

/// The facts of an open file that `mask` asks for; stx_mask says which of them there are. Out of line: statx is a GNU
/// extension.
int abi_statx(int fd, uint32_t mask, struct abi_statx *facts);
