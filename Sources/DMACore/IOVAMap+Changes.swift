// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

extension IOVAMap {
  /// Says that a range belongs to a slot.
  /// - Parameters:
  ///   - range: Whole pages of 4 KiB, of which none is mapped.
  ///   - slot: Less than `UInt32.max`, and of no other mapping. What it names is ready to be found.
  /// - Throws: `misaligned`, `tooLong`, `overlaps`: nothing was changed.
  public borrowing func insert(_ range: IOVARange, slot: UInt32) throws(Failure) {
    precondition(slot < .max, "the greatest slot means none")
    try Self.check(range)
    let isFree = tables.withLock { tables in
      guard hasOnly(0, in: range) else { return false }
      set(range, to: slot + 1, &tables)
      return true
    }
    guard isFree else { throw .overlaps }
  }

  /// Says that a mapping is no more.
  ///
  /// Other threads that looked an address up just before may still use its slot.
  /// - Parameter range: As it was inserted.
  /// - Returns: Its slot.
  /// - Throws: `misaligned`, `tooLong`, `notMapped`: nothing was changed.
  @discardableResult
  public borrowing func remove(_ range: IOVARange) throws(Failure) -> UInt32 {
    try Self.check(range)
    let slot = tables.withLock { tables -> UInt32? in
      guard let slot = self.slot(at: range.start), hasOnly(slot + 1, in: range) else { return nil }
      // The mapping's neighbours are not of it.
      let (below, above) = (range.start.rawValue &- 1, range.last.rawValue &+ 1)
      guard below == .max || self.slot(at: IOVA(below)) != slot,
        above == 0 || self.slot(at: IOVA(above)) != slot
      else { return nil }
      set(range, to: 0, &tables)
      return slot
    }
    guard let slot else { throw .notMapped }
    return slot
  }

  /// Does what ``insert(_:slot:)`` does where the range lies in one leaf that is there: the common case, in a
  /// few steps.
  ///
  /// The caller sees to it that nobody else changes the map.
  /// - Returns: False where it must be done by the other one, or is refused by it; nothing was changed.
  @inline(__always)
  borrowing func insertIntoLeaf(_ range: IOVARange, slot: UInt32) -> Bool {
    guard let words = unsafe leafWords(of: range) else { return false }
    return unsafe Self.change(words, Self.wordCount(of: range), from: 0, to: slot &+ 1)
  }

  /// The same for ``remove(_:)``, of a range that was inserted with this slot.
  @inline(__always)
  borrowing func removeFromLeaf(_ range: IOVARange, slot: UInt32) -> Bool {
    guard let words = unsafe leafWords(of: range) else { return false }
    return unsafe Self.change(words, Self.wordCount(of: range), from: slot &+ 1, to: 0)
  }

  /// Changes words that all have one value; false where they have not.
  @unsafe @inline(__always)
  private static func change(
    _ words: UnsafeMutablePointer<Atomic<UInt32>>, _ count: Int, from old: UInt32, to new: UInt32
  ) -> Bool {
    if count == 1 {
      guard unsafe words.pointee.load(ordering: .relaxed) == old else { return false }
      unsafe words.pointee.store(new, ordering: .releasing)
      return true
    }
    guard unsafe hasOnly(old, words, count) else { return false }
    unsafe fill(words, count, with: new)
    return true
  }

  private static func wordCount(of range: IOVARange) -> Int {
    Int(truncatingIfNeeded: (range.last.rawValue &- range.start.rawValue) &>> pageShift) &+ 1
  }

  /// The words of a range of whole pages that lies in one leaf below 2^48; nil for others.
  @unsafe @inline(__always)
  private borrowing func leafWords(of range: IOVARange) -> UnsafeMutablePointer<Atomic<UInt32>>? {
    let (start, last) = (range.start.rawValue, range.last.rawValue)
    guard (start ^ last) &>> Self.leafShift == 0, last &>> Self.rootShift == 0,
      (start | ~last) & (Self.pageByteCount - 1) == 0
    else { return nil }
    // SAFETY: the number of a leaf below 2^48 is within the root.
    let word = unsafe root[Int(truncatingIfNeeded: start &>> Self.leafShift)].load(ordering: .relaxed)
    guard word != 0, word & 1 == 0 else { return nil }
    return unsafe Self.leaf(word) + Int(truncatingIfNeeded: start &>> Self.pageShift) & (Self.leafCount - 1)
  }

  private static func check(_ range: IOVARange) throws(Failure) {
    let mask = pageByteCount - 1
    guard range.start.rawValue & mask == 0, range.last.rawValue & mask == mask else { throw .misaligned }
    guard range.byteCountMinusOne < greatestByteCount else { throw .tooLong }
  }

  /// The parts of a range by leaves: the numbers of the first and last leaf.
  private static func leaves(of range: IOVARange) -> ClosedRange<UInt64> {
    (range.start.rawValue >> leafShift)...(range.last.rawValue >> leafShift)
  }

  /// The words of one leaf that belong to a range.
  private static func places(of range: IOVARange, inLeaf leaf: UInt64) -> ClosedRange<Int> {
    let mask = UInt64(leafCount - 1)
    let first = leaf == range.start.rawValue >> leafShift ? range.start.rawValue >> pageShift & mask : 0
    let last = leaf == range.last.rawValue >> leafShift ? range.last.rawValue >> pageShift & mask : mask
    return Int(first)...Int(last)
  }

  /// The root's word for a leaf; nil where there is no root.
  private borrowing func word(forLeaf leaf: UInt64) -> UnsafeMutablePointer<Atomic<UInt64>>? {
    let index = Int(leaf) & (Self.rootCount - 1)
    let upperIndex = Int(leaf >> (Self.rootShift - Self.leafShift))
    // SAFETY: indices are within their tables; see slot(at:).
    if upperIndex == 0 { return unsafe root + index }
    let address = unsafe upper[upperIndex].load(ordering: .relaxed)
    return unsafe UnsafeMutablePointer(bitPattern: UInt(address)).map { unsafe $0 + index }
  }

  /// Whether each page of a range has this value.
  private borrowing func hasOnly(_ value: UInt32, in range: IOVARange) -> Bool {
    var leaf = range.start.rawValue >> Self.leafShift
    let last = range.last.rawValue >> Self.leafShift
    while leaf <= last {
      guard let pointer = unsafe word(forLeaf: leaf) else {
        // No root: nothing up to the next one.
        guard value == 0 else { return false }
        leaf = (leaf >> 20 + 1) << 20
        continue
      }
      let word = unsafe pointer.pointee.load(ordering: .relaxed)
      if word == 0 || word & 1 == 1 {
        guard word >> 32 == UInt64(value) else { return false }
      } else {
        let places = Self.places(of: range, inLeaf: leaf)
        // SAFETY: an even word is a leaf, and places are within leaves.
        guard unsafe Self.hasOnly(value, Self.leaf(word) + places.lowerBound, places.count) else {
          return false
        }
      }
      leaf += 1
    }
    return true
  }

  @unsafe
  private static func leaf(_ word: UInt64) -> UnsafeMutablePointer<Atomic<UInt32>> {
    // SAFETY: an even word that is not 0 is the address of a leaf.
    unsafe UnsafeMutablePointer(bitPattern: UInt(word)).unsafelyUnwrapped
  }

  private borrowing func set(_ range: IOVARange, to value: UInt32, _ tables: inout IOVAMapTables) {
    for leaf in Self.leaves(of: range) {
      let places = Self.places(of: range, inLeaf: leaf)
      let pointer = unsafe word(forLeaf: leaf) ?? makeRoot(forLeaf: leaf, &tables)
      var word = unsafe pointer.pointee.load(ordering: .relaxed)
      let hasLeaf = word != 0 && word & 1 == 0
      if places.count == Self.leafCount, !hasLeaf {
        // One word for all pages; the mapping that set it covers it whole, and so does its removal.
        let whole = value == 0 ? 0 : UInt64(value) << 32 | 1
        unsafe pointer.pointee.store(whole, ordering: .releasing)
        continue
      }
      if !hasLeaf {
        let table = unsafe tables.make(Atomic<UInt32>.self, count: Self.leafCount)
        word = UInt64(UInt(bitPattern: table))
        unsafe pointer.pointee.store(word, ordering: .releasing)
      }
      // SAFETY: as in hasOnly(_:in:).
      unsafe Self.fill(Self.leaf(word) + places.lowerBound, places.count, with: value)
    }
  }

  // A large mapping has many words: sixteen at a time, and two in one access.

  @unsafe @_noLocks
  private static func hasOnly(_ value: UInt32, _ words: UnsafeMutablePointer<Atomic<UInt32>>, _ count: Int)
    -> Bool
  {
    var place = 0
    while place < count, unsafe !isPair(words + place) {
      if unsafe words[place].load(ordering: .relaxed) != value { return false }
      place &+= 1
    }
    let both = UInt64(value) << 32 | UInt64(value)
    while place &+ 16 <= count {
      let pairs = unsafe pairs(words + place)
      var difference: UInt64 = 0
      for step in 0..<8 { unsafe difference |= pairs[step].load(ordering: .relaxed) ^ both }
      if difference != 0 { return false }
      place &+= 16
    }
    while place < count {
      if unsafe words[place].load(ordering: .relaxed) != value { return false }
      place &+= 1
    }
    return true
  }

  @unsafe @_noLocks
  private static func fill(
    _ words: UnsafeMutablePointer<Atomic<UInt32>>, _ count: Int, with value: UInt32
  ) {
    var place = 0
    while place < count, unsafe !isPair(words + place) {
      unsafe words[place].store(value, ordering: .releasing)
      place &+= 1
    }
    let both = UInt64(value) << 32 | UInt64(value)
    while place &+ 16 <= count {
      let pairs = unsafe pairs(words + place)
      for step in 0..<8 { unsafe pairs[step].store(both, ordering: .releasing) }
      place &+= 16
    }
    while place < count {
      unsafe words[place].store(value, ordering: .releasing)
      place &+= 1
    }
  }

  @unsafe @inline(__always)
  private static func isPair(_ word: UnsafeMutablePointer<Atomic<UInt32>>) -> Bool {
    UInt(bitPattern: word) & 7 == 0
  }

  /// Two words as one, for a look-up sees either of them as it was or as it is.
  @unsafe @inline(__always)
  private static func pairs(
    _ words: UnsafeMutablePointer<Atomic<UInt32>>
  ) -> UnsafeMutablePointer<Atomic<UInt64>> {
    // SAFETY: both halves are plain words of the same leaf, at a multiple of 8 bytes.
    unsafe UnsafeMutableRawPointer(words).assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  private borrowing func makeRoot(
    forLeaf leaf: UInt64, _ tables: inout IOVAMapTables
  ) -> UnsafeMutablePointer<Atomic<UInt64>> {
    let table = unsafe tables.make(Atomic<UInt64>.self, count: Self.rootCount)
    let upperIndex = Int(leaf >> (Self.rootShift - Self.leafShift))
    unsafe upper[upperIndex].store(UInt64(UInt(bitPattern: table)), ordering: .releasing)
    return unsafe table + Int(leaf) & (Self.rootCount - 1)
  }
}
