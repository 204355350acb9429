// SPDX-License-Identifier: Apache-2.0
// VFIO_DEVICE_FEATURE and what belongs to its features (Linux 5.7 to 7.3): see abi_vfio.h.
#pragma once
#include "abi_vfio.h"

#define ABI_VFIO_DEVICE_FEATURE _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 17)
#define ABI_VFIO_MIG_GET_PRECOPY_INFO _IO(ABI_VFIO_TYPE, ABI_VFIO_BASE + 21)

#define ABI_VFIO_DEVICE_FEATURE_MASK 0xffff
#define ABI_VFIO_DEVICE_FEATURE_GET (1u << 16)
#define ABI_VFIO_DEVICE_FEATURE_SET (1u << 17)
#define ABI_VFIO_DEVICE_FEATURE_PROBE (1u << 18)

#define ABI_VFIO_DEVICE_FEATURE_PCI_VF_TOKEN 0u
#define ABI_VFIO_DEVICE_FEATURE_MIGRATION 1u
#define ABI_VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE 2u
#define ABI_VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY 3u
#define ABI_VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP 4u
#define ABI_VFIO_DEVICE_FEATURE_LOW_POWER_EXIT 5u
#define ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_START 6u
#define ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP 7u
#define ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT 8u
#define ABI_VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9u
#define ABI_VFIO_DEVICE_FEATURE_BUS_MASTER 10u
#define ABI_VFIO_DEVICE_FEATURE_DMA_BUF 11u
#define ABI_VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 12u
#define ABI_VFIO_DEVICE_FEATURE_ZPCI_ERROR 13u

#define ABI_VFIO_MIGRATION_STOP_COPY (1u << 0)
#define ABI_VFIO_MIGRATION_P2P (1u << 1)
#define ABI_VFIO_MIGRATION_PRE_COPY (1u << 2)
#define ABI_VFIO_DEVICE_STATE_ERROR 0u
#define ABI_VFIO_DEVICE_STATE_STOP 1u
#define ABI_VFIO_DEVICE_STATE_RUNNING 2u
#define ABI_VFIO_DEVICE_STATE_STOP_COPY 3u
#define ABI_VFIO_DEVICE_STATE_RESUMING 4u
#define ABI_VFIO_DEVICE_STATE_RUNNING_P2P 5u
#define ABI_VFIO_DEVICE_STATE_PRE_COPY 6u
#define ABI_VFIO_DEVICE_STATE_PRE_COPY_P2P 7u
#define ABI_VFIO_PRECOPY_INFO_REINIT (1u << 0)
#define ABI_VFIO_DEVICE_FEATURE_CLEAR_MASTER 0u
#define ABI_VFIO_DEVICE_FEATURE_SET_MASTER 1u

/// Followed by the feature's own structure.
struct abi_vfio_device_feature {
  uint32_t argsz;
  uint32_t flags;
};
_Static_assert(sizeof(struct abi_vfio_device_feature) == 8, "vfio_device_feature");

struct abi_vfio_device_feature_migration {
  uint64_t flags;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_migration) == 8, "vfio_device_feature_migration");

struct abi_vfio_device_feature_mig_state {
  uint32_t device_state;
  int32_t data_fd;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_mig_state) == 8, "vfio_device_feature_mig_state");

struct abi_vfio_precopy_info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t initial_bytes;
  uint64_t dirty_bytes;
};
_Static_assert(sizeof(struct abi_vfio_precopy_info) == 24, "vfio_precopy_info");

struct abi_vfio_device_low_power_entry_with_wakeup {
  int32_t wakeup_eventfd;
  uint32_t reserved;
};
_Static_assert(sizeof(struct abi_vfio_device_low_power_entry_with_wakeup) == 8,
               "vfio_device_low_power_entry_with_wakeup");

/// `ranges` is the address of `num_ranges` logging ranges.
struct abi_vfio_device_feature_dma_logging_control {
  uint64_t page_size;
  uint32_t num_ranges;
  uint32_t reserved;
  uint64_t ranges;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_dma_logging_control) == 24,
               "vfio_device_feature_dma_logging_control");

struct abi_vfio_device_feature_dma_logging_range {
  uint64_t iova;
  uint64_t length;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_dma_logging_range) == 16,
               "vfio_device_feature_dma_logging_range");

/// `bitmap` is the address of one bit a page of `page_size` bytes, in 64-bit words.
struct abi_vfio_device_feature_dma_logging_report {
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t bitmap;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_dma_logging_report) == 32,
               "vfio_device_feature_dma_logging_report");

struct abi_vfio_device_feature_mig_data_size {
  uint64_t stop_copy_length;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_mig_data_size) == 8, "vfio_device_feature_mig_data_size");

struct abi_vfio_device_feature_bus_master {
  uint32_t op;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_bus_master) == 4, "vfio_device_feature_bus_master");

/// In bytes of the region; whole pages.
struct abi_vfio_region_dma_range {
  uint64_t offset;
  uint64_t length;
};
_Static_assert(sizeof(struct abi_vfio_region_dma_range) == 16, "vfio_region_dma_range");

/// Followed by `nr_ranges` ranges.
struct abi_vfio_device_feature_dma_buf {
  uint32_t region_index;
  uint32_t open_flags;
  uint32_t flags;
  uint32_t nr_ranges;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_dma_buf) == 16, "vfio_device_feature_dma_buf");

/// `data` is the address of a buffer (s390 only).
struct abi_vfio_device_feature_zpci_err {
  uint64_t data;
};
_Static_assert(sizeof(struct abi_vfio_device_feature_zpci_err) == 8, "vfio_device_feature_zpci_err");

/// Asks whether a feature exists: `methods` is GET, SET, both or neither.
ABI_INLINE int abi_vfio_device_feature_probe(int fd, uint32_t feature, uint32_t methods) {
  struct abi_vfio_device_feature command = {.argsz = sizeof(command),
                                            .flags = ABI_VFIO_DEVICE_FEATURE_PROBE | methods | feature};
  return abi_result(ioctl(fd, ABI_VFIO_DEVICE_FEATURE, &command));
}
/// Gets or sets a feature (`method`); `data` is its structure of `byteCount` bytes, which the kernel may fill: always
/// for GET, and for those SETs that answer in it. A call that makes a descriptor answers it.
int abi_vfio_device_feature(int fd, uint32_t feature, uint32_t method, void *data, uint32_t byteCount);
/// Asks on the data stream of a migration what is left to read.
ABI_INLINE int abi_vfio_mig_get_precopy_info(int fd, struct abi_vfio_precopy_info *info) {
  info->argsz = sizeof(*info);
  return abi_result(ioctl(fd, ABI_VFIO_MIG_GET_PRECOPY_INFO, info));
}
