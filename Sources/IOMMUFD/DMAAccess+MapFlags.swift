// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DMACore

extension DMAAccess {
  /// The flags of a map call: what devices may do, and whether the caller or the kernel says where.
  func mapFlags(at iova: IOVA?) -> UInt32 {
    var flags: UInt32 = iova == nil ? 0 : ABI_IOMMU_IOAS_MAP_FIXED_IOVA
    if contains(.read) { flags |= ABI_IOMMU_IOAS_MAP_READABLE }
    if contains(.write) { flags |= ABI_IOMMU_IOAS_MAP_WRITEABLE }
    return flags
  }
}
