// SPDX-License-Identifier: Apache-2.0

/// The device's side of a split ring: takes chains that a driver made available, and gives them back used.
///
/// The driver is not trusted. What it writes is read once and checked once, each chain is bounded, and the queue's own
/// account says which chains are in flight; the first contradiction is thrown and the queue is broken.
///
/// It does no I/O and knows no descriptor of the process: the owner waits for kicks and sends interrupts. Several chains
/// may be in flight, and they are completed in any order. One thread at a time uses a queue.
/// - Source: virtio 1.2, section 2.7, "Split Virtqueues".
@safe @frozen
public struct SplitQueueDevice: ~Copyable, @unchecked Sendable {
  @usableFromInline let descriptors: UnsafeMutableRawPointer
  @usableFromInline let available: UnsafeMutableRawPointer
  @usableFromInline let used: UnsafeMutableRawPointer
  /// The size less one.
  @usableFromInline let mask: UInt32
  /// What the two sides agreed on.
  public let features: QueueFeatures
  /// The pieces of the chain that was taken last.
  @usableFromInline var pieces: TakenPieces
  @usableFromInline var ledger: ChainLedger
  // Indices run freely; their low 16 bits are the ring's.
  /// How many chains were taken.
  @usableFromInline var taken: UInt32
  /// Up to where the driver has made chains available, when it was last asked.
  @usableFromInline var offered: UInt32
  /// How many used entries were written.
  @usableFromInline var completed: UInt32
  /// How many of them the driver was shown.
  @usableFromInline var published: UInt32
  /// How many of the chains between the two indices a restart has not given back to the queue.
  @usableFromInline var unresumed: UInt32
  @usableFromInline var failure: QueueError?

  /// Begins with a ring that the driver has set up, or goes on with one after a restart.
  /// - Parameters:
  ///   - size: How many descriptors the ring has: see ``SplitRingLayout/isValid(size:)``.
  ///   - descriptors, available, used: Where the three parts lie here. All stay mapped while the queue lives.
  ///   - features: What was negotiated.
  ///   - segmentLimit: How many pieces a chain may have, 1 to 65535; nil for the size, which a driver may not exceed.
  ///   - state: Where to go on; see ``publishedUsedIndex(of:)`` and ``resume(_:)``.
  /// - Throws: `badLayout` for the size, or an area that is too short or not aligned; `badState`.
  public init(
    size: Int, descriptors: RingArea, available: RingArea, used: RingArea, features: QueueFeatures,
    segmentLimit: Int? = nil, state: SplitQueueState = SplitQueueState()
  ) throws(QueueError) {
    guard SplitRingLayout.isValid(size: size) else {
      throw QueueError(.badLayout, value: UInt64(max(0, size)))
    }
    guard state.availableIndex &- state.usedIndex <= size else {
      throw QueueError(.badState, value: UInt64(state.availableIndex))
    }
    let descriptors = unsafe try descriptors.checked(
      byteCount: SplitRingLayout.descriptorByteCount(size: size), alignment: 16)
    let available = unsafe try available.checked(
      byteCount: SplitRingLayout.availableByteCount(size: size), alignment: 2)
    let used = unsafe try used.checked(byteCount: SplitRingLayout.usedByteCount(size: size), alignment: 4)
    unsafe self.descriptors = descriptors
    unsafe self.available = available
    unsafe self.used = used
    mask = UInt32(size - 1)
    self.features = features
    pieces = TakenPieces(limit: segmentLimit ?? size)
    ledger = ChainLedger(size: size, isInOrder: features.contains(.inOrder))
    taken = UInt32(state.availableIndex)
    offered = taken
    // The distance of the two is that of the indices, below 2^16, though they run freely.
    published = taken &- UInt32(state.availableIndex &- state.usedIndex)
    completed = published
    unresumed = taken &- published
  }

  /// How many descriptors the ring has.
  @inlinable
  public var size: Int { Int(mask) + 1 }

  /// What the driver did wrong: the device needs a reset.
  ///
  /// Nil as long as the queue works.
  @inlinable
  public var brokenBy: QueueError? { failure }

  /// Where the queue is.
  ///
  /// Ask between a ``publish()`` and the next completion: what was completed and not published counts as neither.
  public var state: SplitQueueState {
    SplitQueueState(
      availableIndex: UInt16(truncatingIfNeeded: taken), usedIndex: UInt16(truncatingIfNeeded: published))
  }

  /// How many chains are taken and not complete.
  @inlinable
  public var inFlightCount: Int { Int(ledger.count) }

  /// Whether a chain is taken and not complete.
  /// - Parameter id: ``QueueChain/id``.
  public func isInFlight(_ id: UInt16) -> Bool { UInt32(id) <= mask && ledger.isInFlight(UInt32(id)) }
}
