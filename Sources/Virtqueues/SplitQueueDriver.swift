// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import DeviceRegisters

/// The driver's side of a split ring: offers chains to a device, and takes them back used.
///
/// The device is trusted no more than the memory it can reach: what it writes is read once and checked against the driver's
/// own account, and the first contradiction is thrown and the queue is broken. Descriptors are written and never read.
///
/// It knows no registers: the owner kicks the device and waits for its interrupts. One thread at a time uses a queue.
/// - Source: virtio 1.2, section 2.7, "Split Virtqueues".
@safe @frozen
public struct SplitQueueDriver: ~Copyable, @unchecked Sendable {
  @usableFromInline let memory: DMAMemory
  /// Where the parts lie in the memory.
  public let layout: SplitRingLayout
  /// What the two sides agreed on.
  public let features: QueueFeatures
  @usableFromInline let availableOffset: Int
  @usableFromInline let usedOffset: Int
  /// The size less one.
  @usableFromInline let mask: UInt32
  /// How many descriptors a table has; 0 where there are none.
  @usableFromInline let tableLength: Int
  @usableFromInline var ledger: OfferLedger
  /// The descriptor after each one, in the list of free ones or in a chain.
  ///
  /// The list is first in, first out: where chains come back in order, it is the order of the ring, as it must be there.
  @usableFromInline let links: QueueTable<UInt16>
  @usableFromInline var firstFree: UInt32 = 0
  @usableFromInline var lastFree: UInt32
  @usableFromInline var free: UInt32
  // Indices run freely; their low 16 bits are the ring's.
  /// How many chains were offered, and of how many of them the device was told.
  @usableFromInline var offered: UInt32 = 0
  @usableFromInline var published: UInt32 = 0
  /// How many chains came back, and how many had when the device was last asked.
  @usableFromInline var returned: UInt32 = 0
  @usableFromInline var seen: UInt32 = 0
  @usableFromInline var failure: QueueError?

  /// An empty queue; the device is told where it lies, and enabled, afterwards.
  /// - Parameters:
  ///   - memory: Of at least `layout.byteCount` bytes, which both sides read and write at any time; it is zeroed here.
  ///     Exposed as coherent where that makes a difference.
  ///   - features: What was negotiated.
  public init(memory: consuming DMAMemory, layout: SplitRingLayout, features: QueueFeatures) {
    precondition(memory.byteCount >= layout.byteCount, "the memory holds the whole layout")
    for offset in stride(from: 0, to: layout.indirectOffset & ~7, by: 8) {
      memory.store(UInt64(0), at: offset)
    }
    self.memory = memory
    self.layout = layout
    self.features = features
    availableOffset = layout.availableOffset
    usedOffset = layout.usedOffset
    mask = UInt32(layout.size - 1)
    tableLength = features.contains(.indirectDescriptors) ? layout.indirectTableLength : 0
    ledger = OfferLedger(size: layout.size, isInOrder: features.contains(.inOrder))
    links = QueueTable(repeating: 0, count: layout.size)
    for index in 0...mask { links[index] = UInt16(truncatingIfNeeded: (index &+ 1) & mask) }
    lastFree = mask
    free = mask + 1
  }

  /// Gives the memory back.
  ///
  /// The caller has stopped the device's use of the queue first.
  public consuming func close() -> DMAMemory { memory }

  /// Where the device finds the descriptors.
  public var descriptors: IOVA { memory.iova }
  /// Where the device finds the available ring, which the driver writes.
  public var available: IOVA { memory.iova(at: availableOffset) }
  /// Where the device finds the used ring, which the device writes.
  public var used: IOVA { memory.iova(at: usedOffset) }

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
