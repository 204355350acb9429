// SPDX-License-Identifier: Apache-2.0

/// What our names are in the kernel's headers: the prefix goes, and the few exceptions are written here.
enum KernelNames {
  /// Our headers that mirror one of the kernel's, and which.
  static let headers = [
    "abi_vfio.h": "linux/vfio.h", "abi_vfio_container.h": "linux/vfio.h",
    "abi_vfio_feature.h": "linux/vfio.h",
    "abi_vfio_reset.h": "linux/vfio.h", "abi_iommufd.h": "linux/iommufd.h",
    "abi_iommufd_hwpt.h": "linux/iommufd.h", "abi_iommufd_info.h": "linux/iommufd.h",
    "abi_iommufd_viommu.h": "linux/iommufd.h",
    "abi_iommufd_ioas.h": "linux/iommufd.h",
    "abi_dma_buf.h": "linux/dma-buf.h", "abi_vduse.h": "linux/vduse.h", "abi_vdpa.h": "linux/vdpa.h",
    "abi_netlink.h": "linux/genetlink.h", "abi_stat.h": "linux/stat.h",
  ]

  /// Our headers that mirror none: they may not declare a structure or a number of the kernel.
  static let ownHeaders: Set = ["CLinuxABI.h", "abi_syscalls.h", "abi_sockets.h"]

  /// Those that declare no structure.
  static let numbersAlone: Set = ["abi_vdpa.h"]

  /// Ours of calls that no released kernel has: the lab's patches bring them, and its tests make the calls.
  static let unreleasedHeaders: Set = ["abi_vfio_pasid.h"]

  /// The kernel uses names that C reserves; ours do not.
  private static let fields = [
    "iommu_ioas_iova_ranges.reserved": "__reserved",
    "iommu_ioas_map.reserved": "__reserved",
    "iommu_ioas_allow_iovas.reserved": "__reserved",
    "iommu_option.reserved": "__reserved",
    "iommu_vfio_ioas.reserved": "__reserved",
    "iommu_ioas_change_process.reserved": "__reserved",
    "iommu_hw_info.reserved": "__reserved",
    "iommu_hw_info_vtd.reserved": "__reserved",
    "iommu_ioas_noiommu_get_pa.reserved": "__reserved",
    "iommu_hw_info_arm_smmuv3.reserved": "__reserved",
    "iommu_hw_info_tegra241_cmdqv.reserved": "__reserved",
    "iommu_hwpt_alloc.reserved": "__reserved",
    "iommu_hwpt_alloc.reserved2": "__reserved2",
    "iommu_hwpt_vtd_s1.reserved": "__reserved",
    "iommu_hwpt_set_dirty_tracking.reserved": "__reserved",
    "iommu_hwpt_get_dirty_bitmap.reserved": "__reserved",
    "iommu_hwpt_vtd_s1_invalidate.reserved": "__reserved",
    "iommu_hwpt_invalidate.reserved": "__reserved",
    "iommu_hwpt_pgfault.reserved": "__reserved",
    "iommu_viommu_alloc.reserved": "__reserved",
    "iommu_veventq_alloc.reserved": "__reserved",
    "vfio_device_feature_dma_logging_control.reserved": "__reserved",
    "statx_timestamp.reserved": "__reserved",
    "statx.spare0": "__spare0",
    "statx.spare2": "__spare2",
    "statx.spare3": "__spare3",
    // A union of group_id and devid.
    "vfio_pci_dependent_device.id": "group_id",
  ]

  /// The only holes that the kernel itself has: before these fields.
  static let holes: Set = ["abi_vfio_iommu_type1_info_cap_migration.pgsize_bitmap"]

  /// The only structures of which the kernel leaves the end without a name.
  static let openEnds: Set = ["abi_vduse_iotlb_entry", "abi_vduse_vq_info"]

  /// `abi_iommu_ioas_map` is `iommu_ioas_map`.
  static func structure(_ ours: String) -> String { String(ours.dropFirst("abi_".count)) }

  /// The field of the kernel's structure that is at the place of ours.
  static func field(_ ours: String, of structure: String) -> String {
    fields["\(KernelNames.structure(structure)).\(ours)"] ?? ours
  }

  /// `ABI_VFIO_BASE` is `VFIO_BASE`.
  static func number(_ ours: String) -> String { String(ours.dropFirst("ABI_".count)) }
}
