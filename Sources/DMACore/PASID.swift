// SPDX-License-Identifier: Apache-2.0

/// The number of one of a function's address spaces: a process address space ID of 20 bits.
///
/// A device and its IOMMU may have fewer bits: `IOMMUHardwareInfo.pasidBits`.
/// - Source: PCI Express Base Specification, "Process Address Space ID".
@frozen
public struct PASID: Hashable, Comparable, Sendable {
  /// The number, below 2^20.
  public let rawValue: UInt32

  /// The highest number.
  @inlinable public static var highest: PASID { PASID(uncheckedRawValue: 1 << 20 - 1) }

  /// Names an address space; nil for a number of more than 20 bits.
  @inlinable
  public init?(_ rawValue: UInt32) {
    guard rawValue >> 20 == 0 else { return nil }
    self.rawValue = rawValue
  }

  @inlinable
  init(uncheckedRawValue rawValue: UInt32) { self.rawValue = rawValue }

  /// Order of the numbers.
  @inlinable
  public static func < (left: PASID, right: PASID) -> Bool { left.rawValue < right.rawValue }

  /// Whether a device or an IOMMU of this width can use it.
  /// - Parameter pasidBits: As the IOMMU tells it; 0 where there are no PASIDs.
  @inlinable
  public func fits(pasidBits: Int) -> Bool { pasidBits > 0 && rawValue >> UInt32(min(pasidBits, 31)) == 0 }
}

extension PASID: CustomStringConvertible {
  /// In decimal.
  public var description: String { String(rawValue) }
}
