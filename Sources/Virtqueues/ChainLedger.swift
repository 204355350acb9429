// SPDX-License-Identifier: Apache-2.0

/// Which chains a device has, by the queue's own account: the ring is the driver's to overwrite.
///
/// Where the two sides agreed on order, it also keeps the order in which chains were taken, and holds back those that are
/// complete before an earlier one.
@safe @frozen @usableFromInline
struct ChainLedger: ~Copyable {
  /// For each identity: 0 when it is not in flight; else, in bits 0 to 15, how many slots the chain takes, in bit 16
  /// whether it is complete and held back, and from bit 32 on the bytes written.
  @usableFromInline let records: QueueTable<UInt64>
  /// The identities in the order in which they were taken: a ring of a power of two, or one unused entry.
  @usableFromInline let order: QueueTable<UInt16>
  @usableFromInline let orderMask: UInt32
  @usableFromInline let isInOrder: Bool
  /// The first and the end of what the order has.
  @usableFromInline var oldest: UInt32 = 0
  @usableFromInline var newest: UInt32 = 0
  /// How many chains are taken and not complete.
  @usableFromInline var count: UInt32 = 0

  @inlinable static var completeBit: UInt64 { 1 << 16 }

  init(size: Int, isInOrder: Bool) {
    var capacity = 1
    while isInOrder, capacity < size { capacity *= 2 }
    records = QueueTable(repeating: 0, count: size)
    order = QueueTable(repeating: 0, count: capacity)
    orderMask = UInt32(capacity - 1)
    self.isInOrder = isInOrder
  }

  /// Whether the driver may make it available: it is not taken, nor held back.
  @inlinable @inline(__always)
  func isFree(_ id: UInt32) -> Bool { records[id] == 0 }

  /// Whether it is taken and not complete.
  @inlinable @inline(__always)
  func isInFlight(_ id: UInt32) -> Bool {
    let record = records[id]
    return record != 0 && record & Self.completeBit == 0
  }

  /// Notes that a free one is taken.
  @inlinable @inline(__always)
  mutating func take(_ id: UInt32, slotCount: UInt32) {
    records[id] = UInt64(slotCount)
    count &+= 1
    if isInOrder {
      order[newest & orderMask] = UInt16(truncatingIfNeeded: id)
      newest &+= 1
    }
  }

  /// Notes that the one taken last is not.
  @inlinable
  mutating func giveBack(_ id: UInt32) {
    if isInOrder {
      precondition(UInt32(order[(newest &- 1) & orderMask]) == id, "chains are given back from the last one")
      newest &-= 1
    }
    records[id] = 0
    count &-= 1
  }

  /// Notes that one in flight is complete; without an agreed order only.
  /// - Returns: How many slots it takes.
  @inlinable @inline(__always)
  mutating func complete(_ id: UInt32) -> UInt32 {
    let slotCount = UInt32(truncatingIfNeeded: records[id])
    records[id] = 0
    count &-= 1
    return slotCount
  }

  /// Notes that one in flight is complete; with an agreed order: it is held back.
  @inlinable
  mutating func hold(_ id: UInt32, writtenByteCount: UInt32) {
    records[id] |= Self.completeBit | UInt64(writtenByteCount) &<< 32
    count &-= 1
  }

  /// Lets go of the oldest one, if it is complete.
  @inlinable
  mutating func releaseOldest() -> HeldChain? {
    guard oldest != newest else { return nil }
    let id = UInt32(order[oldest & orderMask])
    let record = records[id]
    guard record & Self.completeBit != 0 else { return nil }
    records[id] = 0
    oldest &+= 1
    return HeldChain(
      id: id, slotCount: UInt32(UInt16(truncatingIfNeeded: record)),
      writtenByteCount: UInt32(truncatingIfNeeded: record &>> 32))
  }
}

/// A chain that is complete, and whose turn it is.
@frozen @usableFromInline
struct HeldChain {
  @usableFromInline let id, slotCount, writtenByteCount: UInt32

  @inlinable
  init(id: UInt32, slotCount: UInt32, writtenByteCount: UInt32) {
    self.id = id
    self.slotCount = slotCount
    self.writtenByteCount = writtenByteCount
  }
}
