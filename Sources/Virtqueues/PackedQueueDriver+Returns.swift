// SPDX-License-Identifier: Apache-2.0
public import CMMIO
public import DMACore
public import DeviceRegisters

extension PackedQueueDriver {
  /// Takes the next chain that came back.
  /// - Returns: Nil when none did.
  /// - Throws: What the device did wrong; the queue is then broken.
  @inlinable
  public mutating func takeUsed() throws(QueueError) -> UsedChain? {
    if let failure { throw failure }
    if ledger.batch == 0 {
      let place = Int(returned.index) &* 16
      let flags = memory.load(UInt16.self, at: place &+ 14, ordering: .acquiring)
      guard flags & PackedPosition.turn == returned.used, hasPublishedInFlight else { return nil }
      let entry = memory.load(UInt64.self, at: place &+ 8)
      let isWritten = flags & DescriptorFlags.write != 0
      do throws(QueueError) {
        try ledger.use(
          UInt32(truncatingIfNeeded: entry &>> 32 & 0xffff),
          writtenByteCount: isWritten ? UInt32(truncatingIfNeeded: entry) : 0, at: returned.index,
          upTo: .max)
      } catch {
        failure = error
        throw error
      }
    }
    let next = ledger.next
    let slotCount = UInt32(ledger.offers[next].slotCount)
    guard slotCount <= returned.distance(to: published, size: size) else {
      // It is one that was added and not published, and stays in flight.
      let error = QueueError(.usedUnknown, at: returned.index, value: UInt64(next))
      failure = error
      throw error
    }
    let ended = ledger.end()
    returned.advance(by: slotCount, size: size)
    free &+= slotCount
    freeIDs[freeIDCount] = UInt16(truncatingIfNeeded: ended.id)
    freeIDCount &+= 1
    return ended.used
  }

  /// Whether the device has been shown a chain that did not come back.
  @inlinable @inline(__always)
  var hasPublishedInFlight: Bool {
    returned.index != published.index || returned.wrap != published.wrap
  }

  /// Tells the device that it need not interrupt, because the queue is being polled.
  @inlinable
  public mutating func disarmInterrupts() {
    if failure != nil { return }
    memory.store(PackedEvent.never.rawValue, at: layout.driverEventOffset)
  }

  /// Asks the device to interrupt for the next chain that comes back.
  /// - Returns: False when one is back already, for which no interrupt may come: take it, and ask again.
  @inlinable
  public mutating func armInterrupts() -> Bool {
    if failure != nil { return true }
    let event = features.contains(.eventIndex) ? PackedEvent.at(returned) : .always
    memory.store(event.rawValue, at: layout.driverEventOffset)
    // The device looks at this after it has written its entry: one of the two sees the other's.
    cmmio_full_barrier()
    let flags = memory.load(UInt16.self, at: Int(returned.index) &* 16 &+ 14)
    return ledger.batch == 0 && flags & PackedPosition.turn != returned.used
  }
}
