// SPDX-License-Identifier: Apache-2.0

/// A chain that a device has taken from its queue: numbers only, which may be kept, logged, and given back after a
/// restart.
@frozen
public struct QueueChain: Hashable, Sendable {
  /// What the driver knows it by: the index of its first descriptor (split) or its buffer ID (packed).
  ///
  /// Below the size of the queue, and no two chains in flight have the same.
  public let id: UInt16
  /// How many entries of the ring it takes; 1 in a split ring.
  public let slotCount: UInt16
  /// How many pieces it has: first those that the device reads, then those that it writes.
  public let segmentCount: UInt16
  /// How many of its pieces the device reads.
  public let readableSegmentCount: UInt16
  /// How many bytes the device reads.
  public let readableByteCount: UInt32
  /// How many bytes the device may write.
  public let writableByteCount: UInt32

  /// A chain as a log has it.
  @inlinable
  public init(
    id: UInt16, slotCount: UInt16, segmentCount: UInt16, readableSegmentCount: UInt16,
    readableByteCount: UInt32, writableByteCount: UInt32
  ) {
    self.id = id
    self.slotCount = slotCount
    self.segmentCount = segmentCount
    self.readableSegmentCount = readableSegmentCount
    self.readableByteCount = readableByteCount
    self.writableByteCount = writableByteCount
  }
}
