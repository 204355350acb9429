// SPDX-License-Identifier: Apache-2.0

/// How far the device side of a split queue has come; enough to go on after a restart, with the chains in flight.
@frozen
public struct SplitQueueState: Hashable, Sendable {
  /// How many chains were taken, modulo 2^16.
  public var availableIndex: UInt16
  /// How many were published as used, modulo 2^16.
  public var usedIndex: UInt16

  /// A state; without numbers, that of a new queue.
  @inlinable
  public init(availableIndex: UInt16 = 0, usedIndex: UInt16 = 0) {
    self.availableIndex = availableIndex
    self.usedIndex = usedIndex
  }
}
