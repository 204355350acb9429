// SPDX-License-Identifier: Apache-2.0

/// Where the three parts of a split ring lie in one block of memory, and behind them the indirect tables of a driver.
/// - Source: virtio 1.2, section 2.7, "Split Virtqueues".
@frozen
public struct SplitRingLayout: Hashable, Sendable {
  /// How many descriptors there are: a power of two up to 32768.
  public let size: Int
  /// How many descriptors each indirect table of the driver has; 0 for no tables.
  public let indirectTableLength: Int
  /// Where the available ring begins, in bytes; the descriptors are at 0.
  public let availableOffset: Int
  /// Where the used ring begins, in bytes.
  public let usedOffset: Int
  /// Where the indirect tables begin, in bytes: one for each descriptor.
  public let indirectOffset: Int
  /// The length of everything.
  public let byteCount: Int

  /// Places the parts one after the other, each where it may be.
  /// - Parameters:
  ///   - size: As ``isValid(size:)`` has it.
  ///   - indirectTableLength: How long a chain may be that goes through a table; up to 32768, 0 for no tables.
  public init(size: Int, indirectTableLength: Int = 0) {
    precondition(Self.isValid(size: size), "a split ring has a power of two of descriptors, 32768 at most")
    precondition((0...32768).contains(indirectTableLength), "an indirect table has 32768 descriptors at most")
    self.size = size
    self.indirectTableLength = indirectTableLength
    availableOffset = Self.descriptorByteCount(size: size)
    usedOffset = (availableOffset + Self.availableByteCount(size: size) + 3) & ~3
    indirectOffset = (usedOffset + Self.usedByteCount(size: size) + 15) & ~15
    byteCount = indirectOffset + size * indirectTableLength * 16
  }

  /// Whether a split ring may have so many descriptors.
  @inlinable
  public static func isValid(size: Int) -> Bool { (1...32768).contains(size) && size & (size - 1) == 0 }

  /// The length of the descriptors, which lie at a multiple of 16.
  public static func descriptorByteCount(size: Int) -> Int { 16 * size }
  /// The length of the available ring, which lies at a multiple of 2; with the index for the event, used or not.
  public static func availableByteCount(size: Int) -> Int { 6 + 2 * size }
  /// The length of the used ring, which lies at a multiple of 4; with the index for the event, used or not.
  public static func usedByteCount(size: Int) -> Int { 6 + 8 * size }
}
