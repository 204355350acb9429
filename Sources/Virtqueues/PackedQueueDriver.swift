// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DeviceRegisters

/// The driver's side of a packed ring: offers chains to a device, and takes them back used.
///
/// As ``SplitQueueDriver``: the device is not trusted, there are no registers in it, and one thread at a time uses a queue.
/// - Source: virtio 1.2, section 2.8, "Packed Virtqueues".
@safe @frozen
public struct PackedQueueDriver: ~Copyable, @unchecked Sendable {
  @usableFromInline let memory: DMAMemory
  /// Where the parts lie in the memory.
  public let layout: PackedRingLayout
  /// What the two sides agreed on.
  public let features: QueueFeatures
  @usableFromInline let size: UInt32
  /// How many descriptors a table has; 0 where there are none.
  @usableFromInline let tableLength: Int
  @usableFromInline var ledger: OfferLedger
  /// The identities that are free: a stack.
  @usableFromInline let freeIDs: QueueTable<UInt16>
  @usableFromInline var freeIDCount: UInt32
  /// How many entries of the ring are free.
  @usableFromInline var free: UInt32
  /// The entry that is written next, and the first one that the device was not shown.
  @usableFromInline var offered = PackedPosition(index: 0, wrap: true)
  @usableFromInline var published = PackedPosition(index: 0, wrap: true)
  /// The entry at which the next chain comes back.
  @usableFromInline var returned = PackedPosition(index: 0, wrap: true)
  /// The second half of the first entry that the device was not shown: it shows those behind it as well.
  @usableFromInline var heldBack: UInt64 = 0
  @usableFromInline var failure: QueueError?

  /// An empty queue; the device is told where it lies, and enabled, afterwards.
  /// - Parameters:
  ///   - memory: Of at least `layout.byteCount` bytes, which both sides read and write at any time; it is zeroed here.
  ///     Exposed as coherent where that makes a difference.
  ///   - features: What was negotiated.
  public init(memory: consuming DMAMemory, layout: PackedRingLayout, features: QueueFeatures) {
    precondition(memory.byteCount >= layout.byteCount, "the memory holds the whole layout")
    for offset in stride(from: 0, to: layout.indirectOffset, by: 8) { memory.store(UInt64(0), at: offset) }
    self.memory = memory
    self.layout = layout
    self.features = features
    size = UInt32(layout.size)
    tableLength = features.contains(.indirectDescriptors) ? layout.indirectTableLength : 0
    ledger = OfferLedger(size: layout.size, isInOrder: features.contains(.inOrder))
    freeIDs = QueueTable(repeating: 0, count: layout.size)
    for index in 0..<size { freeIDs[index] = UInt16(size - 1 - index) }
    freeIDCount = size
    free = size
  }

  /// Gives the memory back.
  ///
  /// The caller has stopped the device's use of the queue first.
  public consuming func close() -> DMAMemory { memory }

  /// Where the device finds the descriptors.
  public var descriptors: IOVA { memory.iova }
  /// Where the device finds when the driver wants interrupts.
  public var driverEvent: IOVA { memory.iova(at: layout.driverEventOffset) }
  /// Where the device says when it wants kicks.
  public var deviceEvent: IOVA { memory.iova(at: layout.deviceEventOffset) }

  /// How many descriptors are free: pieces that can be added, or chains that go through a table.
  @inlinable
  public var freeCount: Int { Int(free) }

  /// How many chains were added and did not come back.
  @inlinable
  public var inFlightCount: Int { Int(ledger.count) }

  /// What the device did wrong; it needs a reset.
  ///
  /// Nil as long as the queue works.
  @inlinable
  public var brokenBy: QueueError? { failure }
}
