// SPDX-License-Identifier: Apache-2.0
// What GET_HW_INFO tells of each vendor's IOMMU; the call itself is in abi_iommufd.h.
#pragma once
#include "abi_iommufd.h"

#define ABI_IOMMU_HW_INFO_TYPE_DEFAULT 0u
#define ABI_IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV 3u
#define ABI_IOMMU_HW_INFO_TYPE_AMD 4u
#define ABI_IOMMU_HW_INFO_FLAG_INPUT_TYPE (1u << 0)
#define ABI_IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 (1u << 0)
#define ABI_IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI (1u << 0)
#define ABI_IOMMU_HW_CAP_PCI_PASID_EXEC (1ull << 1)
#define ABI_IOMMU_HW_CAP_PCI_PASID_PRIV (1ull << 2)
#define ABI_IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED (1ull << 3)

struct abi_iommu_hw_info_arm_smmuv3 {
  uint32_t flags;
  uint32_t reserved;
  uint32_t idr[6];
  uint32_t iidr;
  uint32_t aidr;
};
_Static_assert(sizeof(struct abi_iommu_hw_info_arm_smmuv3) == 40, "iommu_hw_info_arm_smmuv3");
_Static_assert(offsetof(struct abi_iommu_hw_info_arm_smmuv3, iidr) == 32, "iommu_hw_info_arm_smmuv3");

struct abi_iommu_hw_info_tegra241_cmdqv {
  uint32_t flags;
  uint8_t version;
  uint8_t log2vcmdqs;
  uint8_t log2vsids;
  uint8_t reserved;
};
_Static_assert(sizeof(struct abi_iommu_hw_info_tegra241_cmdqv) == 8, "iommu_hw_info_tegra241_cmdqv");

struct abi_iommu_hw_info_amd {
  uint64_t efr;
  uint64_t efr2;
};
_Static_assert(sizeof(struct abi_iommu_hw_info_amd) == 16, "iommu_hw_info_amd");
