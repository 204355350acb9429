// SPDX-License-Identifier: Apache-2.0

/// An address of the machine's physical memory.
///
/// Devices see it only where no IOMMU stands between; see ``IOVA``.
public struct PhysicalAddress: Hashable, Comparable, Sendable {
  /// The number, as the memory controller knows it.
  public let rawValue: UInt64

  /// Names an address.
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Order in memory.
  public static func < (left: PhysicalAddress, right: PhysicalAddress) -> Bool {
    left.rawValue < right.rawValue
  }
}
