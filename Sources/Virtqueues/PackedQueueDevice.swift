// SPDX-License-Identifier: Apache-2.0

/// The device's side of a packed ring: takes chains that a driver made available, and gives them back used.
///
/// As ``SplitQueueDevice``: the driver is not trusted, there is no I/O in it, chains are completed in any order, and one
/// thread at a time uses a queue. Used entries overwrite descriptors, so that a log must have the pieces of what is in
/// flight.
///
/// A buffer's ID must be below the size of the queue. The specification has no such limit, but the drivers of Linux, DPDK
/// and the BSDs keep to it.
/// - Source: virtio 1.2, section 2.8, "Packed Virtqueues".
@safe @frozen
public struct PackedQueueDevice: ~Copyable, @unchecked Sendable {
  @usableFromInline let descriptors: UnsafeMutableRawPointer
  @usableFromInline let driverEvent: UnsafeMutableRawPointer
  @usableFromInline let deviceEvent: UnsafeMutableRawPointer
  @usableFromInline let count: UInt32
  /// What the two sides agreed on.
  public let features: QueueFeatures
  /// The pieces of the chain that was taken last.
  @usableFromInline var pieces: TakenPieces
  @usableFromInline var ledger: ChainLedger
  /// The entry that is taken next.
  @usableFromInline var taken: PackedPosition
  /// The entry that is used next.
  @usableFromInline var completed: PackedPosition
  /// The first entry that the driver was not shown yet.
  @usableFromInline var published: PackedPosition
  /// How many entries lie between the ones completed and the ones taken.
  @usableFromInline var slotsInFlight: UInt32
  /// Of those, how many belong to chains that a restart has not given back to the queue.
  @usableFromInline var unresumed: UInt32
  /// The second half of the first entry that the driver was not shown: it shows those behind it as well.
  @usableFromInline var heldBack: UInt64 = 0
  @usableFromInline var failure: QueueError?

  /// Begins with a ring that the driver has set up, or goes on with one after a restart.
  /// - Parameters:
  ///   - size: How many descriptors the ring has, 1 to 32768.
  ///   - descriptors, driverEvent, deviceEvent: Where the three parts lie here. All stay mapped while the queue lives.
  ///   - features: What was negotiated.
  ///   - segmentLimit: How many pieces a chain may have, 1 to 65535; nil for the size, which a driver may not exceed.
  ///   - state: Where to go on; see ``resume(_:)``.
  /// - Throws: `badLayout` for the size, or an area that is too short or not aligned; `badState`.
  public init(
    size: Int, descriptors: RingArea, driverEvent: RingArea, deviceEvent: RingArea, features: QueueFeatures,
    segmentLimit: Int? = nil, state: PackedQueueState = PackedQueueState()
  ) throws(QueueError) {
    guard PackedRingLayout.isValid(size: size) else {
      throw QueueError(.badLayout, value: UInt64(max(0, size)))
    }
    guard state.availableIndex < size else {
      throw QueueError(.badState, value: UInt64(state.availableIndex))
    }
    guard state.usedIndex < size else { throw QueueError(.badState, value: UInt64(state.usedIndex)) }
    let count = UInt32(size)
    let taken = PackedPosition(index: UInt32(state.availableIndex), wrap: state.availableWrap)
    let used = PackedPosition(index: UInt32(state.usedIndex), wrap: state.usedWrap)
    let slotsInFlight = used.distance(to: taken, size: count)
    guard slotsInFlight <= count else { throw QueueError(.badState, value: UInt64(state.availableIndex)) }
    let descriptors = unsafe try descriptors.checked(
      byteCount: PackedRingLayout.descriptorByteCount(size: size), alignment: 16)
    let driverEvent = unsafe try driverEvent.checked(
      byteCount: PackedRingLayout.eventByteCount, alignment: 4)
    let deviceEvent = unsafe try deviceEvent.checked(
      byteCount: PackedRingLayout.eventByteCount, alignment: 4)
    unsafe self.descriptors = descriptors
    unsafe self.driverEvent = driverEvent
    unsafe self.deviceEvent = deviceEvent
    self.count = count
    self.features = features
    pieces = TakenPieces(limit: segmentLimit ?? size)
    ledger = ChainLedger(size: size, isInOrder: features.contains(.inOrder))
    self.taken = taken
    completed = used
    published = used
    self.slotsInFlight = slotsInFlight
    unresumed = slotsInFlight
  }

  /// How many descriptors the ring has.
  @inlinable
  public var size: Int { Int(count) }

  /// What the driver did wrong: the device needs a reset.
  ///
  /// Nil as long as the queue works.
  @inlinable
  public var brokenBy: QueueError? { failure }

  /// Where the queue is.
  ///
  /// Ask between a ``publish()`` and the next completion: what was completed and not published counts as neither.
  public var state: PackedQueueState {
    PackedQueueState(
      availableIndex: UInt16(taken.index), availableWrap: taken.wrap, usedIndex: UInt16(published.index),
      usedWrap: published.wrap)
  }

  /// How many chains are taken and not complete.
  @inlinable
  public var inFlightCount: Int { Int(ledger.count) }

  /// Whether a chain is taken and not complete.
  /// - Parameter id: ``QueueChain/id``.
  public func isInFlight(_ id: UInt16) -> Bool { UInt32(id) < count && ledger.isInFlight(UInt32(id)) }

  /// Makes a chain of a log one in flight again; it is completed as any other.
  ///
  /// Where order was agreed on, chains come in the order in which they were taken. After them the driver is sent one
  /// interrupt, since nobody knows whether the last one was.
  /// - Throws: `badState` when they take more entries than lie between the two places of the state, or this one is there.
  public mutating func resume(_ chain: QueueChain) throws(QueueError) {
    let id = UInt32(chain.id)
    let slotCount = UInt32(chain.slotCount)
    guard id < count, ledger.isFree(id), slotCount != 0, slotCount <= unresumed else {
      throw QueueError(.badState, value: UInt64(id))
    }
    ledger.take(id, slotCount: slotCount)
    unresumed -= slotCount
  }
}
