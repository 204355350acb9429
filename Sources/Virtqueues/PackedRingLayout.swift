// SPDX-License-Identifier: Apache-2.0

/// Where the three parts of a packed ring lie in one block of memory, and behind them the indirect tables of a driver.
/// - Source: virtio 1.2, section 2.8, "Packed Virtqueues".
@frozen
public struct PackedRingLayout: Hashable, Sendable {
  /// How many descriptors there are: 1 to 32768.
  public let size: Int
  /// How many descriptors each indirect table of the driver has; 0 for no tables.
  public let indirectTableLength: Int
  /// Where the driver says when it wants interrupts, in bytes; the descriptors are at 0.
  public let driverEventOffset: Int
  /// Where the device says when it wants kicks, in bytes.
  public let deviceEventOffset: Int
  /// Where the indirect tables begin, in bytes: one for each descriptor.
  public let indirectOffset: Int
  /// The length of everything.
  public let byteCount: Int

  /// Places the parts one after the other, each where it may be.
  /// - Parameters:
  ///   - size: As ``isValid(size:)`` has it.
  ///   - indirectTableLength: How long a chain may be that goes through a table; up to 32768, 0 for no tables.
  public init(size: Int, indirectTableLength: Int = 0) {
    precondition(Self.isValid(size: size), "a packed ring has 1 to 32768 descriptors")
    precondition((0...32768).contains(indirectTableLength), "an indirect table has 32768 descriptors at most")
    self.size = size
    self.indirectTableLength = indirectTableLength
    driverEventOffset = Self.descriptorByteCount(size: size)
    deviceEventOffset = driverEventOffset + Self.eventByteCount
    indirectOffset = (deviceEventOffset + Self.eventByteCount + 15) & ~15
    byteCount = indirectOffset + size * indirectTableLength * 16
  }

  /// Whether a packed ring may have so many descriptors.
  @inlinable
  public static func isValid(size: Int) -> Bool { (1...32768).contains(size) }

  /// The length of the descriptors, which lie at a multiple of 16.
  public static func descriptorByteCount(size: Int) -> Int { 16 * size }
  /// The length of what one side says about notifications, which lies at a multiple of 4.
  public static var eventByteCount: Int { 4 }
}
