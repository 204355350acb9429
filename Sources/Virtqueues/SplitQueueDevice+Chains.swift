// SPDX-License-Identifier: Apache-2.0
public import CMMIO

extension SplitQueueDevice {
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
    do throws(QueueError) {
      if taken == offered {
        guard try seesOffer() else { return nil }
      }
      let place = taken & mask
      // SAFETY: the place is within the ring.
      let head = UInt32(unsafe cmmio_read16(available + 4 + Int(truncatingIfNeeded: place) &* 2))
      guard head <= mask else { throw QueueError(.headOutOfRange, at: place, value: UInt64(head)) }
      guard ledger.isFree(head) else { throw QueueError(.alreadyInFlight, at: place, value: UInt64(head)) }
      let chain = try walk(from: head, through: translator)
      ledger.take(head, slotCount: 1)
      taken &+= 1
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
  /// Several are given back from the last to the first.
  public mutating func undoTake(_ chain: QueueChain) {
    precondition(isInFlight(chain.id), "a chain in flight")
    ledger.giveBack(UInt32(chain.id))
    taken &-= 1
    pieces.count = 0
  }

  /// Whether the driver has made more available than was taken.
  @inlinable @inline(__always)
  mutating func seesOffer() throws(QueueError) -> Bool {
    // SAFETY: the index is at 2 in the available ring.
    let index = unsafe cmmio_read16(available + 2)
    let ahead = UInt32(index &- UInt16(truncatingIfNeeded: taken))
    if ahead == 0 { return false }
    // All that is not yet used fits the ring.
    guard ahead &+ (taken &- completed) <= mask &+ 1 else {
      throw QueueError(.availableIndexTooFar, value: UInt64(index))
    }
    cmmio_read_barrier()
    offered = taken &+ ahead
    return true
  }

  /// Follows a chain, and makes its pieces those of `pieces`.
  @inlinable @inline(__always)
  mutating func walk<Translator: IOVATranslator & ~Copyable>(
    from head: UInt32, through translator: borrowing Translator
  ) throws(QueueError) -> QueueChain {
    let table = unsafe descriptors
    let mask = mask
    var walk = ChainWalk(into: pieces)
    var index = head
    var left = mask
    while true {
      // SAFETY: the index is not above the mask.
      let descriptor = unsafe RingDescriptor(table, index)
      let flags = descriptor.splitFlags
      if _slowPath(flags & DescriptorFlags.indirect != 0) {
        try Self.append(table: descriptor, of: index, features, to: &walk, through: translator)
        break
      }
      try walk.append(
        address: descriptor.address, byteCount: descriptor.byteCount,
        isWritable: flags & DescriptorFlags.write != 0, index: index)
      if flags & DescriptorFlags.next == 0 { break }
      let next = UInt32(descriptor.splitNext)
      guard next <= mask else { throw QueueError(.descriptorOutOfRange, at: index, value: UInt64(next)) }
      guard left != 0 else { throw QueueError(.descriptorLoop, at: index, value: UInt64(mask) &+ 1) }
      left &-= 1
      index = next
    }
    let chain = try walk.chain(id: head, slotCount: 1)
    pieces.count = walk.count
    return chain
  }

  /// Follows the rest of a chain, which lies in a table of its own.
  @inlinable @inline(never)
  static func append<Translator: IOVATranslator & ~Copyable>(
    table reference: RingDescriptor, of index: UInt32, _ features: QueueFeatures, to walk: inout ChainWalk,
    through translator: borrowing Translator
  ) throws(QueueError) {
    let address = reference.address
    guard features.contains(.indirectDescriptors) else {
      throw QueueError(.unexpectedIndirect, at: index, value: address)
    }
    guard reference.splitFlags & DescriptorFlags.next == 0 else {
      throw QueueError(.indirectNotAlone, at: index, value: address)
    }
    let table = try IndirectTable(
      address: address, byteCount: reference.byteCount, of: index, through: translator)
    var index: UInt32 = 0
    var left = table.count
    while true {
      // SAFETY: the index is below the table's count.
      let descriptor = unsafe RingDescriptor(table.start, index)
      let flags = descriptor.splitFlags
      guard flags & DescriptorFlags.indirect == 0 else {
        throw QueueError(.nestedIndirect, at: index, value: descriptor.address)
      }
      try walk.append(
        address: descriptor.address, byteCount: descriptor.byteCount,
        isWritable: flags & DescriptorFlags.write != 0, index: index)
      if flags & DescriptorFlags.next == 0 { return }
      let next = UInt32(descriptor.splitNext)
      guard next < table.count else {
        throw QueueError(.descriptorOutOfRange, at: index, value: UInt64(next))
      }
      left &-= 1
      guard left != 0 else { throw QueueError(.descriptorLoop, at: index, value: UInt64(table.count)) }
      index = next
    }
  }
}
