// SPDX-License-Identifier: Apache-2.0

/// An address as a device puts it on the bus: an I/O virtual address, translated by an IOMMU.
///
/// Never a pointer of this process, so it is a type of its own; a physical address only in no-IOMMU mode.
@frozen
public struct IOVA: Hashable, Comparable, Sendable {
  /// The number that goes into a descriptor or a register.
  public let rawValue: UInt64

  /// Names an address.
  @inlinable
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Order on the bus.
  @inlinable
  public static func < (left: IOVA, right: IOVA) -> Bool { left.rawValue < right.rawValue }

  /// The address `byteCount` bytes further on.
  @inlinable
  public func advanced(byByteCount byteCount: Int) -> IOVA { IOVA(rawValue + UInt64(byteCount)) }

  /// The highest address of a device or an IOMMU that drives so many address bits.
  /// - Parameter addressBits: 1 to 64. Many devices drive 32 or 64; IOMMUs 39, 48 or 57.
  @inlinable @inline(__always)
  public static func highest(addressBits: Int) -> IOVA {
    precondition(addressBits >= 1 && addressBits <= 64, "addresses have 1 to 64 bits")
    return IOVA(.max &>> UInt64(truncatingIfNeeded: 64 &- addressBits))
  }
}

extension IOVA: CustomStringConvertible {
  /// In hexadecimal: `0x1000`.
  public var description: String { "0x" + String(rawValue, radix: 16) }
}

/// A range of I/O virtual addresses.
///
/// `last` is inclusive, as in the kernel, so that a range may reach the end of the 64-bit space.
/// - Source: `struct iommu_iova_range`, include/uapi/linux/iommufd.h, Linux 6.2.
@frozen
public struct IOVARange: Hashable, Sendable {
  /// The first address.
  public let start: IOVA
  /// The last address, which belongs to the range.
  public let last: IOVA

  /// A range from its two ends.
  @inlinable
  public init(start: IOVA, last: IOVA) {
    precondition(start <= last, "an IOVA range is not empty and not reversed")
    self.start = start
    self.last = last
  }

  /// A range whose ends are known to be in order.
  @inlinable
  init(uncheckedStart start: UInt64, last: UInt64) {
    assert(start <= last)
    self.start = IOVA(start)
    self.last = IOVA(last)
  }

  /// A range from its beginning and its length in bytes; nil when it is empty or passes the end of 64 bits.
  @inlinable
  public init?(start: IOVA, byteCount: UInt64) {
    guard byteCount > 0 else { return nil }
    let (last, overflow) = start.rawValue.addingReportingOverflow(byteCount - 1)
    guard !overflow else { return nil }
    self.start = start
    self.last = IOVA(last)
  }

  /// The length in bytes less one: the length itself may not fit 64 bits.
  @inlinable
  public var byteCountMinusOne: UInt64 { last.rawValue - start.rawValue }

  /// Whether all of `other` lies inside.
  @inlinable
  public func contains(_ other: IOVARange) -> Bool { start <= other.start && other.last <= last }

  /// Whether the two share an address.
  @inlinable
  public func overlaps(_ other: IOVARange) -> Bool { start <= other.last && other.start <= last }
}

extension IOVARange: CustomStringConvertible {
  /// Both ends, inclusive: `0x1000...0x1fff`.
  public var description: String { "\(start)...\(last)" }
}
