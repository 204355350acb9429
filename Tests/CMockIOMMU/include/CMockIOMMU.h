// SPDX-License-Identifier: Apache-2.0
// The test interface of iommufd (IOMMU_TEST_CMD, a kernel built with CONFIG_IOMMUFD_TEST; facts of Linux 7.3): mock
// devices behind a mock IOMMU, and accesses to an address space from inside the kernel. For tests only.
//
// Every function answers a value >= 0, or -errno. `fd` is that of a /dev/iommu; the other numbers are ids of it.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "iommu_children.h"

// The mock IOMMU's facts.
#define CMOCK_APERTURE_START (1ull << 24)
#define CMOCK_APERTURE_LAST 0x7fffffffull
#define CMOCK_PAGE_BYTE_COUNT 2048
#define CMOCK_HUGE_PAGE_BYTE_COUNT 1048576
#define CMOCK_PASID_BITS 20
/// A PASID whose replacement fails once, as if the driver had no memory.
#define CMOCK_PASID_FAILING_REPLACE 1024

// Flags of mock devices.
#define CMOCK_DEVICE_NO_DIRTY (1u << 0)
#define CMOCK_DEVICE_PASID (1u << 2)

// Types and sizes of vendor data that the mock IOMMU knows.
#define CMOCK_HW_INFO_TYPE 0xfeedbeefu
#define CMOCK_HW_INFO_REGISTER 0xdeadbeefu
#define CMOCK_HWPT_DATA_TYPE 0xdeadu
#define CMOCK_IOTLB_DEFAULT 0x0badbeefu
#define CMOCK_IOTLB_COUNT 4
#define CMOCK_DEVICE_CACHE_DEFAULT 0x00baddadu
#define CMOCK_DEVICE_CACHE_COUNT 4
#define CMOCK_HWPT_INVALIDATE_TYPE 0xdeadbeefu
#define CMOCK_HWPT_INVALIDATE_TYPE_INVALID 0x0dadbeefu
#define CMOCK_VIOMMU_INVALIDATE_TYPE 0xdeadbeefu
#define CMOCK_VIOMMU_INVALIDATE_TYPE_INVALID 0x0dadbeefu
#define CMOCK_INVALIDATE_ALL (1u << 0)
#define CMOCK_VIOMMU_TYPE 0xdeadbeefu
#define CMOCK_VEVENTQ_TYPE 0xbeefbeefu
#define CMOCK_HW_QUEUE_TYPE 0xdeadbeefu
#define CMOCK_HW_QUEUE_COUNT 2

// Kinds of mock page tables.
#define CMOCK_PAGE_TABLE_DEFAULT 0u
#define CMOCK_PAGE_TABLE_HUGE 1u

/// What GET_HW_INFO tells of a mock device.
struct cmock_hw_info {
  uint32_t flags;
  uint32_t test_register;
};
_Static_assert(sizeof(struct cmock_hw_info) == 8, "cmock_hw_info");

/// Vendor data of HWPT_ALLOC; only `iotlb` of it must be there.
struct cmock_hwpt_data {
  uint32_t iotlb;
  uint32_t page_table;
};
_Static_assert(sizeof(struct cmock_hwpt_data) == 8, "cmock_hwpt_data");

/// One entry of HWPT_INVALIDATE on a nested page table.
struct cmock_hwpt_invalidation {
  uint32_t flags;
  uint32_t iotlb_id;
};
_Static_assert(sizeof(struct cmock_hwpt_invalidation) == 8, "cmock_hwpt_invalidation");

/// One entry of HWPT_INVALIDATE on a viommu.
struct cmock_viommu_invalidation {
  uint32_t flags;
  uint32_t vdev_id;
  uint32_t cache_id;
};
_Static_assert(sizeof(struct cmock_viommu_invalidation) == 12, "cmock_viommu_invalidation");

/// Vendor data of VIOMMU_ALLOC: what goes in comes out, and stands in a page that can be mapped.
struct cmock_viommu_data {
  uint32_t in_data;
  uint32_t out_data;
  uint64_t out_mmap_offset;
  uint64_t out_mmap_length;
};
_Static_assert(sizeof(struct cmock_viommu_data) == 24, "cmock_viommu_data");
_Static_assert(offsetof(struct cmock_viommu_data, out_mmap_offset) == 8, "cmock_viommu_data");

/// What follows the header of an event of a viommu.
struct cmock_vevent {
  uint32_t virt_id;
};
_Static_assert(sizeof(struct cmock_vevent) == 4, "cmock_vevent");

/// A mock device, as it comes: three ids.
struct cmock_device {
  /// The mock device; destroying it detaches, unbinds and removes the device.
  uint32_t id;
  /// The page table that it is attached to.
  uint32_t hwpt_id;
  /// The bound device, for GET_HW_INFO, HWPT_ALLOC and the like; it goes with the mock device.
  uint32_t device_id;
};

/// Reserves addresses of an address space for good.
int cmock_add_reserved(int fd, uint32_t ioas_id, uint64_t start, uint64_t byte_count);

/// Adds a device and attaches it to an address space or a page table; the first without flags.
int cmock_device_add(int fd, uint32_t pt_id, struct cmock_device *device);
int cmock_device_add_flags(int fd, uint32_t pt_id, uint32_t flags, struct cmock_device *device);
/// Attaches a device to another one; `*pt_id` comes back as the page table's.
int cmock_device_replace(int fd, uint32_t mock_id, uint32_t *pt_id);
int cmock_device_check_cache(int fd, uint32_t device_id, uint32_t cache_id, uint32_t value);
int cmock_device_page_fault(int fd, uint32_t device_id, uint32_t pasid, uint32_t group, uint32_t permissions,
                            uint64_t address);
int cmock_device_event(int fd, uint32_t device_id);

int cmock_pasid_attach(int fd, uint32_t mock_id, uint32_t pasid, uint32_t pt_id);
int cmock_pasid_replace(int fd, uint32_t mock_id, uint32_t pasid, uint32_t pt_id);
int cmock_pasid_detach(int fd, uint32_t mock_id, uint32_t pasid);
/// 0 where the PASID is attached to this page table; id 0 asks for none.
int cmock_pasid_check(int fd, uint32_t mock_id, uint32_t pasid, uint32_t hwpt_id);

/// 0 where a page table leads to the same pages as the memory of this process does: -EINVAL where not.
int cmock_check_map(int fd, uint32_t hwpt_id, uint64_t iova, uint64_t byte_count, const void *memory);
/// 0 where each page of the memory is pinned so many times: -EIO where not.
int cmock_check_pins(int fd, const void *memory, uint64_t byte_count, uint32_t pins);
int cmock_check_iotlb(int fd, uint32_t hwpt_id, uint32_t iotlb_id, uint32_t value);
/// Marks pages as written by the device: a bit for each page of `page_byte_count`. `*marked` comes back.
int cmock_mark_dirty(int fd, uint32_t hwpt_id, uint64_t iova, uint64_t byte_count, uint64_t page_byte_count,
                     const void *bitmap, uint64_t *marked);

/// The descriptor of a new access from inside the kernel.
int cmock_access_create(int fd, uint32_t ioas_id, int pins_pages);
/// Moves an access to another address space.
int cmock_access_replace(int fd, int access, uint32_t ioas_id);
/// Pins pages, and compares them with the memory of this process unless that is NULL; `*pin_id` comes back.
int cmock_access_pin(int fd, int access, uint64_t iova, uint64_t byte_count, const void *memory, int writes,
                     uint32_t *pin_id);
int cmock_access_unpin(int fd, int access, uint32_t pin_id);
/// Copies between the address space and a buffer. The slow path looks pages up one by one.
int cmock_access_copy(int fd, int access, uint64_t iova, uint64_t byte_count, void *buffer, int writes,
                      int slow_path);

/// The most memory that the kernel's lists of pages may take, in bytes; for the whole kernel, 65536 at first.
int cmock_limit_temporary_memory(int fd, uint32_t byte_count);

/// The descriptor of a dma-buf of kernel memory. 7.3 forgets to answer it: it is found as the lowest number that was
/// free, so no other thread may open anything meanwhile.
int cmock_dma_buf(int fd, uint32_t byte_count);
/// Revokes the dma-buf, or ends that.
int cmock_dma_buf_revoke(int fd, int dma_buf, int revoked);
