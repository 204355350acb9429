// SPDX-License-Identifier: Apache-2.0

/// Which chains a driver has offered its device, by the driver's own account: the ring is the device's to overwrite.
@safe @frozen @usableFromInline
struct OfferLedger: ~Copyable {
  /// For each identity, what was offered under it.
  @usableFromInline let offers: QueueTable<Offer>
  /// Where order was agreed on: the identities in the order in which they were offered; a ring of a power of two.
  @usableFromInline let order: QueueTable<UInt16>
  @usableFromInline let orderMask: UInt32
  @usableFromInline let isInOrder: Bool
  @usableFromInline let size: UInt32
  @usableFromInline var oldest: UInt32 = 0
  @usableFromInline var newest: UInt32 = 0
  /// How many chains the device has.
  @usableFromInline var count: UInt32 = 0
  /// How many chains the used entry that was read last stands for, and are not yet handed out: more than one only where
  /// order was agreed on, when one entry may speak for all before it.
  @usableFromInline var batch: UInt32 = 0
  /// The last chain of the batch, and what was written of it; of the others everything was.
  @usableFromInline var batchID: UInt32 = 0
  @usableFromInline var batchWritten: UInt32 = 0

  init(size: Int, isInOrder: Bool) {
    var capacity = 1
    while isInOrder, capacity < size { capacity *= 2 }
    offers = QueueTable(repeating: Offer(token: 0, writableByteCount: 0, slotCount: 0, last: 0), count: size)
    order = QueueTable(repeating: 0, count: capacity)
    orderMask = UInt32(capacity - 1)
    self.isInOrder = isInOrder
    self.size = UInt32(size)
  }

  /// Notes that the device gets a chain.
  @inlinable
  mutating func begin(_ id: UInt32, _ offer: Offer) {
    offers[id] = offer
    count &+= 1
    if isInOrder {
      order[newest & orderMask] = UInt16(truncatingIfNeeded: id)
      newest &+= 1
    }
  }

  /// Checks what the device says about a chain, which is then the last of a batch.
  /// - Parameters:
  ///   - place: Of the entry, for the error.
  ///   - limit: How many chains the entry may stand for.
  @inlinable
  mutating func use(
    _ id: UInt32, writtenByteCount: UInt32, at place: UInt32, upTo limit: UInt32
  ) throws(QueueError) {
    guard id < size, offers[id].slotCount != 0 else {
      throw QueueError(.usedUnknown, at: place, value: UInt64(id))
    }
    guard writtenByteCount <= offers[id].writableByteCount else {
      throw QueueError(.writtenTooMuch, at: id, value: UInt64(writtenByteCount))
    }
    var chains: UInt32 = 1
    if isInOrder {
      // One in flight is in the order.
      while UInt32(order[(oldest &+ chains &- 1) & orderMask]) != id { chains &+= 1 }
      guard chains <= limit else { throw QueueError(.outOfOrder, at: place, value: UInt64(id)) }
    }
    batch = chains
    batchID = id
    batchWritten = writtenByteCount
  }

  /// The identity of the next chain of the batch, which has one.
  @inlinable
  var next: UInt32 { isInOrder ? UInt32(order[oldest & orderMask]) : batchID }

  /// Takes the next chain out of the batch.
  @inlinable
  mutating func end() -> EndedOffer {
    let id = next
    if isInOrder { oldest &+= 1 }
    let offer = offers[id]
    offers[id] = Offer(token: 0, writableByteCount: 0, slotCount: 0, last: 0)
    batch &-= 1
    count &-= 1
    return EndedOffer(
      id: id, offer: offer, writtenByteCount: batch == 0 ? batchWritten : offer.writableByteCount)
  }
}

/// One chain that a device has.
@frozen @usableFromInline
struct Offer: BitwiseCopyable {
  @usableFromInline let token: UInt64
  @usableFromInline let writableByteCount: UInt32
  /// How many entries of the ring it takes; 0 for no chain.
  @usableFromInline let slotCount: UInt16
  /// Split: its last descriptor.
  @usableFromInline let last: UInt16

  @inlinable
  init(token: UInt64, writableByteCount: UInt32, slotCount: UInt32, last: UInt32) {
    self.token = token
    self.writableByteCount = writableByteCount
    self.slotCount = UInt16(truncatingIfNeeded: slotCount)
    self.last = UInt16(truncatingIfNeeded: last)
  }
}

/// One chain that the device has no more.
@frozen @usableFromInline
struct EndedOffer {
  @usableFromInline let id: UInt32
  @usableFromInline let offer: Offer
  @usableFromInline let writtenByteCount: UInt32

  @inlinable
  init(id: UInt32, offer: Offer, writtenByteCount: UInt32) {
    self.id = id
    self.offer = offer
    self.writtenByteCount = writtenByteCount
  }

  @inlinable var used: UsedChain { UsedChain(token: offer.token, writtenByteCount: writtenByteCount) }
}
