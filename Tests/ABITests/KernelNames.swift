// SPDX-License-Identifier: Apache-2.0

/// What our names are in the kernel's headers: the prefix goes, and the few exceptions are written here.
enum KernelNames {
  /// Our headers that mirror one of the kernel's, and which.
  static let headers = ["abi_vfio.h": "linux/vfio.h", "abi_iommufd.h": "linux/iommufd.h"]

  /// Our headers that mirror none: they may not declare a structure or a number of the kernel.
  static let ownHeaders: Set = ["CLinuxABI.h", "abi_syscalls.h"]

  /// iommufd's headers use names that C reserves; ours do not.
  private static let fields = [
    "iommu_ioas_iova_ranges.reserved": "__reserved",
    "iommu_ioas_map.reserved": "__reserved",
    "iommu_hw_info.reserved": "__reserved",
    "iommu_hw_info_vtd.reserved": "__reserved",
  ]

  /// `abi_iommu_ioas_map` is `iommu_ioas_map`.
  static func structure(_ ours: String) -> String { String(ours.dropFirst("abi_".count)) }

  /// The field of the kernel's structure that is at the place of ours.
  static func field(_ ours: String, of structure: String) -> String {
    fields["\(KernelNames.structure(structure)).\(ours)"] ?? ours
  }

  /// `ABI_VFIO_BASE` is `VFIO_BASE`.
  static func number(_ ours: String) -> String { String(ours.dropFirst("ABI_".count)) }
}
