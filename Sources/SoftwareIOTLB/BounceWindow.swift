// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// A window of streaming addresses with one owner and no lock: bounce pages, and who has them.
///
/// A thread that maps much takes one of its own from ``IOTLBDomain/lendWindow(byteCount:)``; the others share the
/// domain's.
///
/// What the device may see of a page: the bytes of the buffer that is mapped there, where they go to the device,
/// and zeros. The bytes of another buffer are overwritten or zeroed before. A page that is not mapped at present
/// keeps what the device was given or gave last, until it is used again or the window is reset.
///
/// A device that goes on using an address after `unmap` reads and writes the bounce page only, and so perhaps what
/// the next buffer has there: stop it first, as with an IOMMU whose cache is flushed late.
public struct BounceWindow: ~Copyable, Sendable {
  @usableFromInline let table: SlotTable
  /// Its addresses.
  public let range: IOVARange
  @usableFromInline let byteCountMinusOne: UInt64
  @usableFromInline var allocator: IOVAAllocator
  // Declared before the memory: a lease that ends still forgets slots in it.
  private let lease: WindowLease?
  private let memory: IOTLBMemory

  init(_ range: IOVARange, of memory: IOTLBMemory, lease: WindowLease? = nil) {
    table = memory.table
    self.range = range
    byteCountMinusOne = range.byteCountMinusOne
    allocator = IOVAAllocator(allowed: [range])
    self.lease = lease
    self.memory = memory
  }

  /// Lets the device reach a buffer, and copies it where bytes go to the device.
  /// - Parameters:
  ///   - buffer: At least one byte, which need not be aligned. Stays where it is until `unmap`; only read where
  ///     nothing comes from the device.
  ///   - iova: Where; as far into its page as the buffer is. Nil lets the window choose.
  /// - Returns: The name of the mapping, with the device's address.
  /// - Throws: `IOTLBError`: `exhausted`; `alreadyMapped` or `badAddress` for an address that was asked for;
  ///   `wrongSize` for no bytes or more than the window has.
  @unsafe @inlinable @inline(__always)
  public mutating func map(
    _ buffer: UnsafeMutableRawBufferPointer, _ direction: DMADirection, at iova: IOVA? = nil
  ) throws(IOTLBError) -> BounceSlot {
    guard let base = buffer.baseAddress, buffer.count > 0 else {
      throw IOTLBError(.wrongSize, iova, buffer.count)
    }
    let offset = Int(bitPattern: base) & SlotTable.offsetMask
    let byteCount = (offset &+ buffer.count &+ SlotTable.offsetMask) & ~SlotTable.offsetMask
    let start = try take(byteCount, offset, at: iova, for: buffer.count)
    let slot = BounceSlot(
      iova: IOVA(start | UInt64(truncatingIfNeeded: offset)), byteCount: buffer.count, direction: direction)
    unsafe table.begin(slot, offset, base, isCopied: direction.isToDevice)
    return slot
  }

  /// Ends a mapping, and copies where bytes come from the device; the buffer is its owner's again.
  /// - Throws: `IOTLBError`: `notMapped`, `wrongSize` or `wrongDirection`.
  @inlinable @inline(__always)
  public mutating func unmap(_ slot: BounceSlot) throws(IOTLBError) {
    try check(slot)
    table.end(slot)
    if slot.direction.isFromDevice { table.copyOut(slot, 0, slot.byteCount) }
    giveBack(slot)
  }

  /// Copies what was written to the buffer for the device, where bytes go to the device.
  /// - Parameter bytes: Of the buffer; nil for all.
  /// - Throws: `IOTLBError` as ``unmap(_:)``; `pastTheEnd` for bytes that are not the slot's.
  @inlinable @inline(__always)
  public func syncForDevice(_ slot: BounceSlot, _ bytes: Range<Int>? = nil) throws(IOTLBError) {
    let bytes = try checked(bytes, of: slot)
    if slot.direction.isToDevice { table.copyIn(slot, bytes.lowerBound, bytes.count) }
  }

  /// Copies what the device wrote to the buffer, where bytes come from the device.
  /// - Parameter bytes: Of the buffer; nil for all.
  /// - Throws: `IOTLBError` as ``syncForDevice(_:_:)``.
  @inlinable @inline(__always)
  public func syncForCPU(_ slot: BounceSlot, _ bytes: Range<Int>? = nil) throws(IOTLBError) {
    let bytes = try checked(bytes, of: slot)
    if slot.direction.isFromDevice { table.copyOut(slot, bytes.lowerBound, bytes.count) }
  }

  // MARK: Parts

  @inlinable @inline(__always)
  func check(_ slot: BounceSlot) throws(IOTLBError) {
    // One comparison: what lies below the window is far above it when its start is taken off.
    guard _fastPath(slot.iova.rawValue &- range.start.rawValue <= byteCountMinusOne) else {
      throw IOTLBError(.notMapped, slot.iova, slot.byteCount)
    }
    guard _fastPath(table.isMapped(slot)) else { throw table.refusal(of: slot) }
  }

  @inlinable @inline(__always)
  func checked(_ bytes: Range<Int>?, of slot: BounceSlot) throws(IOTLBError) -> Range<Int> {
    try check(slot)
    guard let bytes else { return 0..<slot.byteCount }
    guard bytes.lowerBound >= 0, bytes.upperBound <= slot.byteCount else {
      throw IOTLBError(.pastTheEnd, slot.iova, bytes.upperBound)
    }
    return bytes
  }

  /// Takes pages of addresses.
  /// - Returns: The first address.
  @inlinable @inline(__always)
  mutating func take(
    _ byteCount: Int, _ offset: Int, at iova: IOVA?, for bufferByteCount: Int
  ) throws(IOTLBError) -> UInt64 {
    if let iova { return try reserve(byteCount, offset, at: iova, for: bufferByteCount) }
    do throws(IOVAAllocator.Failure) {
      return try allocator.allocate(
        byteCount: UInt64(truncatingIfNeeded: byteCount), alignment: UInt64(SlotTable.pageByteCount)
      ).start.rawValue
    } catch {
      throw IOTLBError(
        byteCount > range.byteCountMinusOne ? .wrongSize : .exhausted, nil, bufferByteCount)
    }
  }

  @usableFromInline @inline(never)
  mutating func reserve(
    _ byteCount: Int, _ offset: Int, at iova: IOVA, for bufferByteCount: Int
  ) throws(IOTLBError) -> UInt64 {
    guard iova.rawValue & UInt64(SlotTable.offsetMask) == UInt64(offset) else {
      throw IOTLBError(.badAddress, iova, bufferByteCount)
    }
    let start = iova.rawValue - UInt64(offset)
    do throws(IOVAAllocator.Failure) {
      try allocator.reserve(at: IOVA(start), byteCount: UInt64(byteCount))
      return start
    } catch {
      throw IOTLBError(error == .taken ? .alreadyMapped : .badAddress, iova, bufferByteCount)
    }
  }

  @inlinable @inline(__always)
  mutating func giveBack(_ slot: BounceSlot) {
    let start = slot.iova.rawValue & ~UInt64(SlotTable.offsetMask)
    let last =
      (slot.iova.rawValue &+ UInt64(truncatingIfNeeded: slot.byteCount) &- 1)
      | UInt64(SlotTable.offsetMask)
    do throws(IOVAAllocator.Failure) {
      try allocator.deallocate(IOVARange(start: IOVA(start), last: IOVA(last)))
    } catch {
      preconditionFailure("a slot's pages were handed out: \(error)")
    }
  }
}
