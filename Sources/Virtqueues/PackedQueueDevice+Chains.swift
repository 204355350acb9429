// SPDX-License-Identifier: Apache-2.0
public import CMMIO

extension PackedQueueDevice {
  /// Takes the next chain that the driver made available.
  ///
  /// Its pieces are there for ``segment(_:)`` until the next chain is taken.
  /// - Parameter translator: Finds indirect tables; ``NoTranslation`` where there are none.
  /// - Returns: Nil when nothing is available.
  /// - Throws: What the driver did wrong; the queue is then broken.
  @inlinable @inline(__always)
  public mutating func take<Translator: IOVATranslator & ~Copyable>(
    through translator: borrowing Translator
  ) throws(QueueError) -> QueueChain? {
    if let failure { throw failure }
    // SAFETY: the flags are at 14 of a descriptor of the ring.
    let flags = unsafe cmmio_read16(descriptors + 14 + Int(truncatingIfNeeded: taken.index) &* 16)
    guard flags & PackedPosition.turn == taken.available else { return nil }
    // The flags are written last.
    cmmio_read_barrier()
    do throws(QueueError) {
      let chain = try walk(flags, through: translator)
      guard chain.id < count else {
        throw QueueError(.identityOutOfRange, at: taken.index, value: UInt64(chain.id))
      }
      guard ledger.isFree(UInt32(chain.id)) else {
        throw QueueError(.alreadyInFlight, at: taken.index, value: UInt64(chain.id))
      }
      ledger.take(UInt32(chain.id), slotCount: UInt32(chain.slotCount))
      slotsInFlight &+= UInt32(chain.slotCount)
      taken.advance(by: UInt32(chain.slotCount), size: count)
      return chain
    } catch {
      failure = error
      throw error
    }
  }

  /// A piece of the chain that was taken last.
  /// - Parameter index: Below its ``QueueChain/segmentCount``.
  @inlinable @inline(__always)
  public func segment(_ index: Int) -> QueueSegment { pieces[index] }

  /// Makes as if the chain that was taken last had not been: the next one taken is in its place.
  ///
  /// Several are given back from the last to the first, before anything is completed.
  public mutating func undoTake(_ chain: QueueChain) {
    let slotCount = UInt32(chain.slotCount)
    precondition(isInFlight(chain.id) && slotCount <= slotsInFlight, "a chain in flight")
    ledger.giveBack(UInt32(chain.id))
    taken.retreat(by: slotCount, size: count)
    slotsInFlight &-= slotCount
    pieces.count = 0
  }

  /// Follows the chain at the next place, and makes its pieces those of `pieces`.
  /// - Parameter flags: Of its first descriptor; they are not read again.
  @inlinable @inline(__always)
  mutating func walk<Translator: IOVATranslator & ~Copyable>(
    _ flags: UInt16, through translator: borrowing Translator
  ) throws(QueueError) -> QueueChain {
    let size = count
    let room = size &- slotsInFlight
    guard room != 0 else { throw QueueError(.availableIndexTooFar, value: UInt64(taken.index)) }
    var walk = ChainWalk(into: pieces)
    var index = taken.index
    var flags = flags
    var slotCount: UInt32 = 0
    var id: UInt16 = 0
    while true {
      // SAFETY: the index is below the size.
      let descriptor = unsafe RingDescriptor(descriptors, index)
      // Those of the first descriptor are known; the driver could have changed them since.
      if slotCount != 0 { flags = descriptor.packedFlags }
      slotCount &+= 1
      id = descriptor.packedID
      if _slowPath(flags & DescriptorFlags.indirect != 0) {
        guard slotCount == 1, flags & DescriptorFlags.next == 0 else {
          throw QueueError(.indirectNotAlone, at: index, value: descriptor.address)
        }
        try Self.append(table: descriptor, of: index, features, to: &walk, through: translator)
        break
      }
      try walk.append(
        address: descriptor.address, byteCount: descriptor.byteCount,
        isWritable: flags & DescriptorFlags.write != 0, index: index)
      if flags & DescriptorFlags.next == 0 { break }
      guard slotCount < room else { throw QueueError(.descriptorLoop, at: index, value: UInt64(room)) }
      index &+= 1
      if index == size { index = 0 }
    }
    let chain = try walk.chain(id: UInt32(id), slotCount: slotCount)
    pieces.count = walk.count
    return chain
  }

  /// Takes the pieces out of a table of its own, one after the other.
  @inlinable @inline(never)
  static func append<Translator: IOVATranslator & ~Copyable>(
    table reference: RingDescriptor, of index: UInt32, _ features: QueueFeatures, to walk: inout ChainWalk,
    through translator: borrowing Translator
  ) throws(QueueError) {
    guard features.contains(.indirectDescriptors) else {
      throw QueueError(.unexpectedIndirect, at: index, value: reference.address)
    }
    let table = try IndirectTable(
      address: reference.address, byteCount: reference.byteCount, of: index, through: translator)
    var index: UInt32 = 0
    while index != table.count {
      // SAFETY: the index is below the table's count.
      let descriptor = unsafe RingDescriptor(table.start, index)
      // Of its flags only this one means anything in a table.
      try walk.append(
        address: descriptor.address, byteCount: descriptor.byteCount,
        isWritable: descriptor.packedFlags & DescriptorFlags.write != 0, index: index)
      index &+= 1
    }
  }
}
