// SPDX-License-Identifier: Apache-2.0

/// An address of the host's memory as the processor puts it on the bus, behind its own page tables.
///
/// Never an ``IOVA``, even where the two numbers are the same because nothing translates.
@frozen
public struct PhysicalAddress: Hashable, Comparable, Sendable {
  /// The number, as `/proc/self/pagemap` or a BAR's resource line has it, in bytes.
  public let rawValue: UInt64

  /// Names an address.
  @inlinable
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// Order in memory.
  @inlinable
  public static func < (left: PhysicalAddress, right: PhysicalAddress) -> Bool {
    left.rawValue < right.rawValue
  }
}

extension PhysicalAddress: CustomStringConvertible {
  /// In hexadecimal: `0x1000`.
  public var description: String { "0x" + String(rawValue, radix: 16) }
}
