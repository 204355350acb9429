// SPDX-License-Identifier: Apache-2.0
public import CMMIO

extension SplitQueueDevice {
  /// Ends a chain; the driver sees it after ``publish()``.
  ///
  /// Chains may be completed in any order. Where order was agreed on, one waits here until the earlier ones are complete.
  /// - Parameters:
  ///   - chain: In flight.
  ///   - writtenByteCount: How many bytes were written, from the first writable one on without a gap.
  @inlinable @inline(__always)
  public mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32) {
    let id = UInt32(chain.id)
    precondition(id <= mask && ledger.isInFlight(id), "a chain in flight is completed once")
    precondition(writtenByteCount <= chain.writableByteCount, "no more is written than there is room for")
    if !ledger.isInOrder {
      _ = ledger.complete(id)
      use(id, writtenByteCount)
    } else {
      completeInOrder(id, writtenByteCount)
    }
  }

  @inlinable @inline(never)
  mutating func completeInOrder(_ id: UInt32, _ writtenByteCount: UInt32) {
    ledger.hold(id, writtenByteCount: writtenByteCount)
    while let held = ledger.releaseOldest() { use(held.id, held.writtenByteCount) }
  }

  /// Writes the next entry of the used ring.
  @inlinable @inline(__always)
  mutating func use(_ id: UInt32, _ writtenByteCount: UInt32) {
    if failure != nil { return }
    // SAFETY: within the used ring.
    let entry = unsafe used + 4 + Int(truncatingIfNeeded: completed & mask) &* 8
    unsafe cmmio_write32(entry, id)
    unsafe cmmio_write32(entry + 4, writtenByteCount)
    completed &+= 1
  }

  /// Shows the driver what was completed.
  /// - Returns: Whether the driver wants an interrupt for it; send it then.
  @inlinable @inline(__always)
  public mutating func publish() -> Bool {
    if completed == published || failure != nil { return false }
    let count = UInt16(truncatingIfNeeded: completed &- published)
    let first = UInt16(truncatingIfNeeded: published)
    // The entries before the index; the index before the question whether the driver waits for it.
    cmmio_write_barrier()
    unsafe cmmio_write16(used + 2, UInt16(truncatingIfNeeded: completed))
    cmmio_full_barrier()
    published = completed
    // SAFETY: the flags are at 0 of the available ring, the index that the driver waits for is behind its entries.
    if features.contains(.eventIndex) {
      return unsafe cmmio_read16(available + 6 + Int(truncatingIfNeeded: mask) &* 2) &- first < count
    }
    return unsafe cmmio_read16(available) & 1 == 0
  }

  /// Tells the driver that it need not kick, because the queue is being polled.
  @inlinable
  public mutating func disarmKicks() {
    // With the event index there is nothing to say: the driver kicks once, when it passes the old one.
    if features.contains(.eventIndex) || failure != nil { return }
    unsafe cmmio_write16(used, 1)
  }

  /// Asks the driver to kick for the next chain.
  /// - Returns: False when there is a chain already, for which no kick may come: take it, and ask again.
  @inlinable
  public mutating func armKicks() -> Bool {
    if failure != nil { return true }
    let next = UInt16(truncatingIfNeeded: taken)
    // SAFETY: the flags are at 0 of the used ring, the index to wait for is behind its entries.
    if features.contains(.eventIndex) {
      unsafe cmmio_write16(used + 12 + Int(truncatingIfNeeded: mask) &* 8, next)
    } else {
      unsafe cmmio_write16(used, 0)
    }
    // The driver looks at this after it has written its index: one of the two sees the other's.
    cmmio_full_barrier()
    return unsafe cmmio_read16(available + 2) == next
  }
}
