// SPDX-License-Identifier: Apache-2.0
public import CMMIO

extension PackedQueueDevice {
  /// Ends a chain; the driver sees it after ``publish()``.
  ///
  /// Chains may be completed in any order. Where order was agreed on, one waits here until the earlier ones are complete.
  /// - Parameters:
  ///   - chain: In flight.
  ///   - writtenByteCount: How many bytes were written, from the first writable one on without a gap.
  @inlinable @inline(__always)
  public mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32) {
    let id = UInt32(chain.id)
    precondition(id < count && ledger.isInFlight(id), "a chain in flight is completed once")
    precondition(writtenByteCount <= chain.writableByteCount, "no more is written than there is room for")
    if !ledger.isInOrder {
      let slotCount = ledger.complete(id)
      use(id, writtenByteCount, slotCount)
    } else {
      completeInOrder(id, writtenByteCount)
    }
  }

  @inlinable @inline(never)
  mutating func completeInOrder(_ id: UInt32, _ writtenByteCount: UInt32) {
    ledger.hold(id, writtenByteCount: writtenByteCount)
    while let held = ledger.releaseOldest() { use(held.id, held.writtenByteCount, held.slotCount) }
  }

  /// Writes the next used entry, and skips as many as the chain has.
  @inlinable @inline(__always)
  mutating func use(_ id: UInt32, _ writtenByteCount: UInt32, _ slotCount: UInt32) {
    if failure != nil { return }
    // The length counts only with the flag.
    let flags = completed.used | (writtenByteCount == 0 ? 0 : DescriptorFlags.write)
    let entry = UInt64(writtenByteCount) | UInt64(id) &<< 32 | UInt64(flags) &<< 48
    if completed.index == published.index, completed.wrap == published.wrap {
      heldBack = entry
    } else {
      write(entry, at: completed.index)
    }
    completed.advance(by: slotCount, size: count)
    slotsInFlight &-= slotCount
  }

  @inlinable @inline(__always)
  func write(_ entry: UInt64, at index: UInt32) {
    // SAFETY: the index is below the size.
    unsafe cmmio_write64(descriptors + 8 + Int(truncatingIfNeeded: index) &* 16, entry)
  }

  /// Shows the driver what was completed.
  /// - Returns: Whether the driver wants an interrupt for it; send it then.
  @inlinable @inline(__always)
  public mutating func publish() -> Bool {
    if failure != nil || (completed.index == published.index && completed.wrap == published.wrap) {
      return false
    }
    // The other entries before the first one, which shows them; that one before the question whether the driver waits.
    cmmio_write_barrier()
    write(heldBack, at: published.index)
    cmmio_full_barrier()
    let first = published
    published = completed
    return unsafe PackedEvent(rawValue: cmmio_read32(driverEvent))
      .wants(from: first, to: completed, size: count, eventIndex: features.contains(.eventIndex))
  }

  /// Tells the driver that it need not kick, because the queue is being polled.
  @inlinable
  public mutating func disarmKicks() {
    if failure != nil { return }
    unsafe cmmio_write32(deviceEvent, PackedEvent.never.rawValue)
  }

  /// Asks the driver to kick for the next chain.
  /// - Returns: False when there is a chain already, for which no kick may come: take it, and ask again.
  @inlinable
  public mutating func armKicks() -> Bool {
    if failure != nil { return true }
    let event = features.contains(.eventIndex) ? PackedEvent.at(taken) : .always
    unsafe cmmio_write32(deviceEvent, event.rawValue)
    // The driver looks at this after it has written its entry: one of the two sees the other's.
    cmmio_full_barrier()
    let flags = unsafe cmmio_read16(descriptors + 14 + Int(truncatingIfNeeded: taken.index) &* 16)
    return flags & PackedPosition.turn != taken.available
  }
}
