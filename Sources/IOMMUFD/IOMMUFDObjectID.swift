// SPDX-License-Identifier: Apache-2.0

/// The kernel's number of one object of an iommufd: an IOAS, a page table, a bound device.
///
/// Numbers are used again once their object is destroyed, so only an object's owner keeps one.
public struct IOMMUFDObjectID: Hashable, Sendable {
  /// The kernel's number.
  public let rawValue: UInt32

  /// Names an object.
  public init(_ rawValue: UInt32) { self.rawValue = rawValue }
}

extension IOMMUFDObjectID: CustomStringConvertible {
  /// The number in decimal.
  public var description: String { String(rawValue) }
}
