// SPDX-License-Identifier: Apache-2.0

/// How far the device side of a packed queue has come; enough to go on after a restart, with the chains in flight.
@frozen
public struct PackedQueueState: Hashable, Sendable {
  /// The entry that is taken next.
  public var availableIndex: UInt16
  /// The driver's wrap counter there.
  public var availableWrap: Bool
  /// The entry that is used next.
  public var usedIndex: UInt16
  /// The device's wrap counter there.
  public var usedWrap: Bool

  /// A state; without numbers, that of a new queue.
  @inlinable
  public init(
    availableIndex: UInt16 = 0, availableWrap: Bool = true, usedIndex: UInt16 = 0, usedWrap: Bool = true
  ) {
    self.availableIndex = availableIndex
    self.availableWrap = availableWrap
    self.usedIndex = usedIndex
    self.usedWrap = usedWrap
  }
}
