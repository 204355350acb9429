// SPDX-License-Identifier: Apache-2.0
public import CMMIO
public import DMACore
public import DeviceRegisters

extension SplitQueueDriver {
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
    precondition(count > 0 && slotCount <= layout.size, "a chain has at least one piece, and fits the ring")
    guard slotCount <= Int(free), failure == nil else { return false }
    let head = firstFree
    var bytes = OfferedBytes()
    var last = head
    if usesTable {
      let table = layout.indirectOffset &+ Int(head) &* layout.indirectTableLength &* 16
      for index in 0..<count {
        bytes.add(segments[index])
        write(
          segments[index], at: table &+ index &* 16, next: index &+ 1 < count ? UInt16(index &+ 1) : nil)
      }
      write(at: Int(head) &* 16, IOVA(memory.iova.rawValue &+ UInt64(table)), UInt32(count &* 16), 1 << 2, 0)
    } else {
      for index in 0..<count {
        if index != 0 { last = UInt32(links[last]) }
        bytes.add(segments[index])
        write(segments[index], at: Int(last) &* 16, next: index &+ 1 < count ? links[last] : nil)
      }
    }
    firstFree = UInt32(links[last])
    free &-= UInt32(slotCount)
    ledger.begin(
      head,
      Offer(
        token: token, writableByteCount: bytes.writableByteCount(), slotCount: UInt32(slotCount), last: last))
    memory.store(
      UInt16(truncatingIfNeeded: head), at: availableOffset &+ 4 &+ Int(offered & mask) &* 2)
    offered &+= 1
    return true
  }

  @inlinable @inline(__always)
  func write(_ segment: QueueSegment, at offset: Int, next: UInt16?) {
    let flags =
      (segment.isWritable ? DescriptorFlags.write : 0) | (next == nil ? 0 : DescriptorFlags.next)
    write(at: offset, segment.iova, segment.byteCount, flags, next ?? 0)
  }

  @inlinable @inline(__always)
  func write(at offset: Int, _ address: IOVA, _ byteCount: UInt32, _ flags: UInt16, _ next: UInt16) {
    memory.store(address.rawValue, at: offset)
    memory.store(UInt64(byteCount) | UInt64(flags) &<< 32 | UInt64(next) &<< 48, at: offset &+ 8)
  }

  /// Shows the device what was added.
  /// - Returns: Whether the device wants a kick for it; kick it then.
  @inlinable
  public mutating func publish() -> Bool {
    if offered == published || failure != nil { return false }
    let count = UInt16(truncatingIfNeeded: offered &- published)
    let first = UInt16(truncatingIfNeeded: published)
    memory.store(UInt16(truncatingIfNeeded: offered), at: availableOffset &+ 2, ordering: .releasing)
    // The index before the question whether the device waits for it.
    cmmio_full_barrier()
    published = offered
    if features.contains(.eventIndex) {
      return memory.load(UInt16.self, at: usedOffset &+ 12 &+ Int(mask) &* 8) &- first < count
    }
    return memory.load(UInt16.self, at: usedOffset) & 1 == 0
  }
}
