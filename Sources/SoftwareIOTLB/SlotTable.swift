// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import Synchronization

/// What is mapped at each page of a domain's addresses, for both sides.
///
/// Three words a page, zero for a page that was never used:
/// - `state`, for the first page of a slot: 0 for none, else direction, kind, place in the page, and length, so
///   that one comparison tells whether a slot is the one that is named.
/// - `buffer`, for the first page of a slot: the address of its first byte in this process.
/// - `mark`: the first page of the slot that the page was in last, and the bytes of the page that may still be
///   that buffer's. What the next slot does not overwrite of them is zeroed before the device sees it.
///
/// The owner of a range of addresses changes its words; a device's side reads them at any time.
@safe @frozen @usableFromInline
struct SlotTable: @unchecked Sendable {
  @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt64>>
  /// The first byte of the domain's file, which is address 0.
  @usableFromInline let file: UnsafeMutableRawPointer

  @inlinable static var pageByteCount: Int { 4096 }
  @inlinable static var pageShift: UInt64 { 12 }
  @inlinable static var offsetMask: Int { 4095 }
  /// Both sides see one memory: the page of the file is the buffer's too.
  @inlinable static var coherentBit: UInt64 { 4 }

  /// How long the table for so many bytes of addresses is, in bytes; whole pages.
  static func byteCount(for addressByteCount: Int) -> Int {
    let byteCount = addressByteCount / pageByteCount * 3 * MemoryLayout<Atomic<UInt64>>.stride
    return (byteCount + offsetMask) & ~offsetMask
  }

  /// - Parameters:
  ///   - words: Zeroed; kept, as `file`, by whoever holds the table.
  @unsafe
  init(words: UnsafeMutableRawPointer, byteCount: Int, file: UnsafeMutableRawPointer) {
    let count = byteCount / MemoryLayout<Atomic<UInt64>>.stride
    // SAFETY: an atomic word has the representation of its value, and all are zero.
    unsafe self.words = unsafe words.bindMemory(to: Atomic<UInt64>.self, capacity: count)
    unsafe self.file = unsafe file
  }

  // SAFETY of all below: pages are of the domain's addresses, as their callers checked, and so are slots.

  @unsafe @inlinable @inline(__always)
  func entry(_ page: UInt64) -> UnsafeMutablePointer<Atomic<UInt64>> {
    unsafe words + Int(truncatingIfNeeded: page &* 3)
  }

  /// The state word of a slot that is named.
  @inlinable @inline(__always)
  static func state(_ slot: BounceSlot) -> UInt64 {
    UInt64(slot.direction.rawValue) | (slot.iova.rawValue & 4095) &<< 4
      | UInt64(truncatingIfNeeded: slot.byteCount) &<< 16
  }

  /// Whether a slot of these addresses is mapped as it is named.
  @inlinable @inline(__always)
  func isMapped(_ slot: BounceSlot) -> Bool {
    // A length that has no room in the word is that of no slot.
    slot.byteCount &>> 48 == 0 && state(ofPage: slot.iova.rawValue &>> Self.pageShift) == Self.state(slot)
  }

  @inlinable @inline(__always)
  func state(ofPage page: UInt64) -> UInt64 { unsafe entry(page)[0].load(ordering: .acquiring) }

  /// The first byte of a slot's buffer.
  @unsafe @inlinable @inline(__always)
  func buffer(ofPage page: UInt64) -> UnsafeMutableRawPointer {
    let address = unsafe entry(page)[1].load(ordering: .relaxed)
    // SAFETY: it is not 0 for a page in which a slot begins.
    return unsafe UnsafeMutableRawPointer(bitPattern: UInt(address)).unsafelyUnwrapped
  }

  // MARK: Beginning and ending

  /// Notes a slot, and lets the device see its bytes, and zeros around them.
  /// - Parameters:
  ///   - offset: Of the slot in its first page.
  ///   - isCopied: Whether the buffer's bytes are copied for the device.
  ///   - kind: ``coherentBit``, or 0.
  @unsafe @inlinable @inline(__always)
  func begin(
    _ slot: BounceSlot, _ offset: Int, _ buffer: UnsafeMutableRawPointer, isCopied: Bool, kind: UInt64 = 0
  ) {
    let page = slot.iova.rawValue &>> Self.pageShift
    let end = offset &+ slot.byteCount
    if _fastPath(end <= Self.pageByteCount) {
      claim(page, of: page, offset, end, isCopied)
    } else {
      claimPages(from: page, offset, end, isCopied)
    }
    unsafe entry(page)[1].store(UInt64(UInt(bitPattern: buffer)), ordering: .relaxed)
    if isCopied { unsafe place(slot.iova).copyMemory(from: buffer, byteCount: slot.byteCount) }
    unsafe entry(page)[0].store(Self.state(slot) | kind, ordering: .releasing)
  }

  /// Ends a slot that is one: no device may use it any more.
  @inlinable @inline(__always)
  func end(_ slot: BounceSlot) {
    unsafe entry(slot.iova.rawValue &>> Self.pageShift)[0].store(0, ordering: .releasing)
  }

  /// Copies bytes of a slot to the device's side.
  @inlinable @inline(__always)
  func copyIn(_ slot: BounceSlot, _ start: Int, _ count: Int) {
    let buffer = unsafe buffer(ofPage: slot.iova.rawValue &>> Self.pageShift)
    unsafe (place(slot.iova) + start).copyMemory(from: buffer + start, byteCount: count)
  }

  /// Copies bytes of a slot from the device's side.
  @inlinable @inline(__always)
  func copyOut(_ slot: BounceSlot, _ start: Int, _ count: Int) {
    let buffer = unsafe buffer(ofPage: slot.iova.rawValue &>> Self.pageShift)
    unsafe (buffer + start).copyMemory(from: place(slot.iova) + start, byteCount: count)
  }

  /// Where the device's side of an address lies in this process.
  @unsafe @inlinable @inline(__always)
  func place(_ iova: IOVA) -> UnsafeMutableRawPointer {
    unsafe file + Int(truncatingIfNeeded: iova.rawValue)
  }

  // MARK: What a page may still hold

  @inlinable @inline(__always)
  static func mark(_ first: UInt64, _ lower: Int, _ upper: Int) -> UInt64 {
    first &<< 32 | UInt64(truncatingIfNeeded: lower) &<< 16 | UInt64(truncatingIfNeeded: upper)
  }

  /// Gives one page to the slot that begins at page `first`.
  /// - Parameters:
  ///   - lower: The first byte of the page that is the slot's.
  ///   - upper: The first one after.
  ///   - isCopied: Whether all of these are overwritten next.
  @inlinable @inline(__always)
  func claim(_ page: UInt64, of first: UInt64, _ lower: Int, _ upper: Int, _ isCopied: Bool) {
    let new = Self.mark(first, lower, upper)
    let old = unsafe entry(page)[2].load(ordering: .relaxed)
    // The same bytes of the same page once more, which nobody will see: the usual case.
    if _fastPath(old == new), isCopied { return }
    clean(page, old, new, isCopied)
  }

  @usableFromInline @inline(never)
  func claimPages(from first: UInt64, _ offset: Int, _ end: Int, _ isCopied: Bool) {
    let last = first &+ UInt64(truncatingIfNeeded: (end &- 1) &>> Int(Self.pageShift))
    claim(first, of: first, offset, Self.pageByteCount, isCopied)
    // As `claim`, with all that is the same for each page kept out of the loop: next to a long copy it would be seen.
    let whole = Self.mark(first, 0, Self.pageByteCount)
    var entry = unsafe entry(first &+ 1)
    let lastEntry = unsafe self.entry(last)
    var page = first &+ 1
    while unsafe entry != lastEntry {
      let old = unsafe entry[2].load(ordering: .relaxed)
      if _slowPath(old != whole || !isCopied) { clean(page, old, whole, isCopied) }
      unsafe entry += 3
      page &+= 1
    }
    claim(last, of: first, 0, ((end &- 1) & Self.offsetMask) &+ 1, isCopied)
  }

  /// Zeroes what another buffer left in a page and is not overwritten next.
  @usableFromInline @inline(never)
  func clean(_ page: UInt64, _ old: UInt64, _ new: UInt64, _ isCopied: Bool) {
    let left = Self.bytes(old)
    if isCopied {
      let kept = Self.bytes(new)
      zero(page, left.lowerBound, min(left.upperBound, kept.lowerBound))
      zero(page, max(left.lowerBound, kept.upperBound), left.upperBound)
    } else {
      zero(page, left.lowerBound, left.upperBound)
    }
    unsafe entry(page)[2].store(new, ordering: .relaxed)
  }

  private static func bytes(_ mark: UInt64) -> Range<Int> {
    Int(mark >> 16 & 0xffff)..<Int(mark & 0xffff)
  }

  private func zero(_ page: UInt64, _ lower: Int, _ upper: Int) {
    guard lower < upper else { return }
    let start = unsafe file + (Int(page) << Int(Self.pageShift) + lower)
    unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: upper - lower)
  }

  /// Forgets all that is mapped in a range.
  /// - Parameter isEmptied: Whether the pages are given back to the kernel, so that they are zero again.
  func forget(_ range: IOVARange, isEmptied: Bool) {
    for page in range.start.rawValue >> Self.pageShift...range.last.rawValue >> Self.pageShift {
      // Reading costs no memory for pages that were never used; writing would.
      if state(ofPage: page) != 0 { unsafe entry(page)[0].store(0, ordering: .releasing) }
      if isEmptied, unsafe entry(page)[2].load(ordering: .relaxed) != 0 {
        unsafe entry(page)[2].store(0, ordering: .relaxed)
      }
    }
  }

  // MARK: Asking

  /// The slot that the page of an address is in, and its kind; nil for none.
  func slot(at iova: IOVA) -> (slot: BounceSlot, isCoherent: Bool)? {
    let first = unsafe entry(iova.rawValue >> Self.pageShift)[2].load(ordering: .relaxed) >> 32
    let state = state(ofPage: first)
    guard let direction = DMADirection(rawValue: UInt8(state & 3)) else { return nil }
    let start = IOVA(first << Self.pageShift | state >> 4 & 4095)
    let slot = BounceSlot(iova: start, byteCount: Int(state >> 16), direction: direction)
    // The page may have been in an earlier slot that was longer.
    let pageStart = iova.rawValue & ~UInt64(Self.offsetMask)
    guard pageStart < start.rawValue + (state >> 16) else { return nil }
    return (slot, state & Self.coherentBit != 0)
  }

  /// What is wrong with the name of a slot.
  @usableFromInline @inline(never)
  func refusal(of slot: BounceSlot) -> IOTLBError {
    let found = self.slot(at: slot.iova)?.slot
    let code: IOTLBError.Code =
      if let found, found.iova == slot.iova {
        found.byteCount != slot.byteCount ? .wrongSize : .wrongDirection
      } else {
        .notMapped
      }
    return IOTLBError(code, slot.iova, slot.byteCount)
  }
}
