// SPDX-License-Identifier: Apache-2.0
// A second opinion on the layouts: where the system has a header of its own, it must agree with ours.
// Structures that grew later are compared on what both know; ABITests compare the whole of 7.3's headers.
#include "CLinuxABI.h"

#define SAME_SIZE(name) _Static_assert(sizeof(struct abi_##name) == sizeof(struct name), #name)
#define SAME_OFFSET(name, field) \
  _Static_assert(offsetof(struct abi_##name, field) == offsetof(struct name, field), #name "." #field)
#define SAME_NUMBER(name) _Static_assert((unsigned long)ABI_##name == (unsigned long)(name), #name)

#if __has_include(<linux/vfio.h>)
#include <linux/vfio.h>
SAME_SIZE(vfio_info_cap_header);
SAME_SIZE(vfio_group_status);
SAME_SIZE(vfio_region_info);
SAME_OFFSET(vfio_region_info, offset);
SAME_SIZE(vfio_region_sparse_mmap_area);
SAME_SIZE(vfio_region_info_cap_sparse_mmap);
SAME_SIZE(vfio_irq_info);
SAME_SIZE(vfio_irq_set);
SAME_OFFSET(vfio_irq_set, count);
SAME_SIZE(vfio_iommu_type1_dma_map);
SAME_SIZE(vfio_iommu_type1_dma_unmap);
SAME_OFFSET(vfio_device_info, cap_offset);
SAME_OFFSET(vfio_iommu_type1_info, cap_offset);
SAME_NUMBER(VFIO_GET_API_VERSION);
SAME_NUMBER(VFIO_SET_IOMMU);
SAME_NUMBER(VFIO_GROUP_GET_DEVICE_FD);
SAME_NUMBER(VFIO_DEVICE_SET_IRQS);
SAME_NUMBER(VFIO_DEVICE_RESET);
SAME_NUMBER(VFIO_IOMMU_MAP_DMA);
SAME_NUMBER(VFIO_IOMMU_UNMAP_DMA);
#ifdef VFIO_DEVICE_BIND_IOMMUFD
SAME_NUMBER(VFIO_DEVICE_BIND_IOMMUFD);
SAME_OFFSET(vfio_device_bind_iommufd, out_devid);
SAME_NUMBER(VFIO_DEVICE_ATTACH_IOMMUFD_PT);
SAME_OFFSET(vfio_device_attach_iommufd_pt, pt_id);
SAME_NUMBER(VFIO_DEVICE_DETACH_IOMMUFD_PT);
#endif
#endif

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
SAME_SIZE(iommu_destroy);
SAME_SIZE(iommu_ioas_alloc);
SAME_SIZE(iommu_iova_range);
SAME_SIZE(iommu_ioas_iova_ranges);
SAME_SIZE(iommu_ioas_map);
SAME_SIZE(iommu_ioas_unmap);
SAME_SIZE(iommu_ioas_allow_iovas);
SAME_SIZE(iommu_ioas_copy);
SAME_SIZE(iommu_option);
SAME_SIZE(iommu_vfio_ioas);
SAME_NUMBER(IOMMU_DESTROY);
SAME_NUMBER(IOMMU_IOAS_MAP);
#ifdef IOMMU_GET_HW_INFO
SAME_SIZE(iommu_hw_info);
SAME_OFFSET(iommu_hw_info, out_capabilities);
SAME_NUMBER(IOMMU_GET_HW_INFO);
#endif
#endif
