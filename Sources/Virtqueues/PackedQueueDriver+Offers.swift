// SPDX-License-Identifier: Apache-2.0
public import CMMIO
public import DMACore
public import DeviceRegisters

extension PackedQueueDriver {
  /// Adds a chain, of which the device learns at ``publish()``.
  ///
  /// It goes through an indirect table where that was agreed on, it has more than one piece, and the table is long enough.
  /// - Parameters:
  ///   - segments: What the device reads, then what it writes: at least one, none empty, less than 2^32 bytes.
  ///   - token: Comes back with the chain.
  /// - Returns: False when there is no room for it; take used ones first.
  @inlinable
  public mutating func add(_ segments: Span<QueueSegment>, token: UInt64) -> Bool {
    let count = segments.count
    let usesTable = count > 1 && count <= tableLength
    let slotCount = usesTable ? 1 : count
    precondition(count > 0 && slotCount <= Int(size), "a chain has at least one piece, and fits the ring")
    // Each chain takes an entry at least, so that there is an identity where there is an entry.
    guard slotCount <= Int(free), failure == nil else { return false }
    freeIDCount &-= 1
    let id = freeIDs[freeIDCount]
    var bytes = OfferedBytes()
    if usesTable {
      let table = layout.indirectOffset &+ Int(id) &* layout.indirectTableLength &* 16
      for index in 0..<count {
        let segment = segments[index]
        bytes.add(segment)
        let flags = segment.isWritable ? DescriptorFlags.write : 0
        memory.store(segment.iova.rawValue, at: table &+ index &* 16)
        memory.store(
          UInt64(segment.byteCount) | UInt64(flags) &<< 48, at: table &+ index &* 16 &+ 8)
      }
      offer(
        IOVA(memory.iova.rawValue &+ UInt64(table)), UInt32(count &* 16), DescriptorFlags.indirect, id)
    } else {
      for index in 0..<count {
        let segment = segments[index]
        bytes.add(segment)
        let flags =
          (segment.isWritable ? DescriptorFlags.write : 0)
          | (index &+ 1 < count ? DescriptorFlags.next : 0)
        offer(segment.iova, segment.byteCount, flags, id)
      }
    }
    free &-= UInt32(slotCount)
    ledger.begin(
      UInt32(id),
      Offer(
        token: token, writableByteCount: bytes.writableByteCount(), slotCount: UInt32(slotCount), last: 0))
    return true
  }

  /// Writes the next entry of the ring, but not what shows the first one.
  @inlinable @inline(__always)
  mutating func offer(_ address: IOVA, _ byteCount: UInt32, _ flags: UInt16, _ id: UInt16) {
    let place = Int(offered.index) &* 16
    memory.store(address.rawValue, at: place)
    let rest = UInt64(byteCount) | UInt64(id) &<< 32 | UInt64(flags | offered.available) &<< 48
    if hasUnpublished { memory.store(rest, at: place &+ 8) } else { heldBack = rest }
    offered.advance(by: 1, size: size)
  }

  @inlinable @inline(__always)
  var hasUnpublished: Bool { offered.index != published.index || offered.wrap != published.wrap }

  /// Shows the device what was added.
  /// - Returns: Whether the device wants a kick for it; kick it then.
  @inlinable
  public mutating func publish() -> Bool {
    if !hasUnpublished || failure != nil { return false }
    let first = published
    memory.store(heldBack, at: Int(first.index) &* 16 &+ 8, ordering: .releasing)
    // The entry before the question whether the device waits for it.
    cmmio_full_barrier()
    published = offered
    return PackedEvent(rawValue: memory.load(UInt32.self, at: layout.deviceEventOffset))
      .wants(from: first, to: offered, size: size, eventIndex: features.contains(.eventIndex))
  }
}
