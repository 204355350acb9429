// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// Which addresses of an ``IOAS`` may be used, and in which steps.
/// - Source: `struct iommu_ioas_iova_ranges`, include/uapi/linux/iommufd.h, Linux 6.2.
public struct UsableAddresses: Hashable, Sendable {
  /// The ranges, ascending: all of 64 bits without devices, less with each that joins.
  public let ranges: [IOVARange]
  /// What addresses and lengths of mappings must be multiples of, in bytes: 1 without devices, else the smallest
  /// page of their IOMMU; never more than a page of the system.
  public let alignment: Int
}
