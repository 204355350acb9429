// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// One piece of a chain: where it lies on the bus, and whether the device reads or writes it.
@frozen
public struct QueueSegment: Hashable, Sendable {
  /// Where it begins.
  public let iova: IOVA
  /// Its length in bytes.
  public let byteCount: UInt32
  /// Whether the device writes it; else it reads it.
  public let isWritable: Bool

  /// A piece of memory that the driver offers.
  @inlinable
  public init(iova: IOVA, byteCount: UInt32, isWritable: Bool) {
    self.iova = iova
    self.byteCount = byteCount
    self.isWritable = isWritable
  }
}
