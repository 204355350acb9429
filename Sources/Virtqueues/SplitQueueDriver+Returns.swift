// SPDX-License-Identifier: Apache-2.0
public import CMMIO
public import DMACore
public import DeviceRegisters

extension SplitQueueDriver {
  /// Takes the next chain that came back.
  /// - Returns: Nil when none did.
  /// - Throws: What the device did wrong; the queue is then broken.
  @inlinable
  public mutating func takeUsed() throws(QueueError) -> UsedChain? {
    if let failure { throw failure }
    if ledger.batch == 0 {
      do throws(QueueError) {
        if returned == seen {
          guard try seesUsed() else { return nil }
        }
        let place = returned & mask
        let entry = usedOffset &+ 4 &+ Int(place) &* 8
        try ledger.use(
          memory.load(UInt32.self, at: entry), writtenByteCount: memory.load(UInt32.self, at: entry &+ 4),
          at: place, upTo: seen &- returned)
      } catch {
        failure = error
        throw error
      }
    }
    let ended = ledger.end()
    returned &+= 1
    // Its descriptors are linked already.
    if free == 0 { firstFree = ended.id } else { links[lastFree] = UInt16(truncatingIfNeeded: ended.id) }
    lastFree = UInt32(ended.offer.last)
    free &+= UInt32(ended.offer.slotCount)
    return ended.used
  }

  /// Whether more came back than was taken.
  @inlinable @inline(__always)
  mutating func seesUsed() throws(QueueError) -> Bool {
    let index = memory.load(UInt16.self, at: usedOffset &+ 2, ordering: .acquiring)
    let ahead = UInt32(index &- UInt16(truncatingIfNeeded: returned))
    guard ahead <= published &- returned else { throw QueueError(.usedIndexTooFar, value: UInt64(index)) }
    seen = returned &+ ahead
    return ahead != 0
  }

  /// Tells the device that it need not interrupt, because the queue is being polled.
  @inlinable
  public mutating func disarmInterrupts() {
    // With the event index there is nothing to say: the device interrupts once, when it passes the old one.
    if features.contains(.eventIndex) || failure != nil { return }
    memory.store(UInt16(1), at: availableOffset)
  }

  /// Asks the device to interrupt for the next chain that comes back.
  /// - Returns: False when one is back already, for which no interrupt may come: take it, and ask again.
  @inlinable
  public mutating func armInterrupts() -> Bool {
    if failure != nil { return true }
    let next = UInt16(truncatingIfNeeded: returned)
    if features.contains(.eventIndex) {
      memory.store(next, at: availableOffset &+ 6 &+ Int(mask) &* 2)
    } else {
      memory.store(UInt16(0), at: availableOffset)
    }
    // The device looks at this after it has written its index: one of the two sees the other's.
    cmmio_full_barrier()
    return memory.load(UInt16.self, at: usedOffset &+ 2) == next
  }
}
