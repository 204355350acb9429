// SPDX-License-Identifier: Apache-2.0

/// What an allocator keeps at hand: per length, the ranges of that length that were given back last.
///
/// It is the idea of the kernel's IOVA caches: an address that was just freed is handed out again without a
/// look at the tree of free ranges. There is a magazine for each length of 1 to 512 granules of 4 KiB, so that
/// nothing is rounded up and no address is lost to padding; each holds 128 ranges at most.
///
/// A table with a word per granule says for the first granule of a range whether it is handed out, and how
/// long it is, or links it into its magazine. So a range that is given back twice is found out at once, and
/// magazines need no memory of their own. The table reaches from the lowest allowed address to the highest
/// one handed out by choice, at most 64 GiB further: 8 bytes per 4 KiB. Other ranges have no entry.
///
/// - Source: drivers/iommu/iova.c, Linux 4.7, for the idea; the structure here is another one.
@safe @frozen @usableFromInline
struct IOVAMagazines: ~Copyable, @unchecked Sendable {
  /// The unit of lengths and of the table, in bytes: the smallest page of any IOMMU.
  @inlinable static var granuleByteCount: UInt64 { 4096 }
  @inlinable static var granuleShift: UInt64 { 12 }
  /// The greatest length with a magazine, in granules.
  @inlinable static var largest: UInt64 { 512 }
  /// How many ranges one magazine holds.
  @inlinable static var depth: UInt64 { 128 }
  /// The greatest number of entries: 64 GiB of addresses, 128 MiB of table.
  @inlinable static var greatestCapacity: UInt64 { 1 << 24 }

  /// The magazines and the table, in one block.
  ///
  /// For each length in granules, 0 to 512: the link to the range on top of its magazine, or 0. For each
  /// length: how many ranges its magazine may still take. Then the table.
  /// Entries of the table: 0 nothing is known; else, for the first granule of a range, its length in bytes
  /// less one when it is handed out, or the link to the next range of its magazine.
  @usableFromInline var words: UnsafeMutablePointer<UInt64>
  /// The address of entry 0, which is never used; one granule below the lowest address.
  @usableFromInline let base: UInt64
  /// A link is an index with this bit, 2^63, so that no length looks like one.
  ///
  /// Both ways to use a link shift it out. It is here because a constant of 64 bits takes an instruction more than a field.
  @usableFromInline let linkBit: UInt64
  /// How many entries the table has.
  @usableFromInline var capacity: UInt64 = 0

  @inlinable static var roomOffset: Int { 513 }
  @inlinable static var tableOffset: Int { 1026 }

  /// Starts empty.
  /// - Parameter lowest: No address below it will be kept.
  init(lowest: IOVA) {
    base = lowest.rawValue & ~(Self.granuleByteCount - 1) &- Self.granuleByteCount
    linkBit = 1 << 63
    unsafe words = .allocate(capacity: Self.tableOffset)
    unsafe words.initialize(repeating: 0, count: Self.tableOffset)
    for granules in 1...Int(Self.largest) { unsafe words[Self.roomOffset + granules] = Self.depth }
  }

  @usableFromInline
  deinit { unsafe words.deallocate() }

  /// A number of bytes in granules; a very great number where these are not whole.
  @inlinable @inline(__always) @_noLocks
  static func granules(_ byteCount: UInt64) -> UInt64 {
    byteCount &>> granuleShift | byteCount &<< (64 &- granuleShift)
  }

  /// The link to the range on top of the magazine for a length that has one; 0 for none.
  @inlinable @inline(__always) @_noLocks
  func top(_ granules: UInt64) -> UInt64 {
    // SAFETY: there is a magazine for each length up to the largest.
    unsafe words[Int(truncatingIfNeeded: granules)]
  }

  /// The first address of the range that is linked.
  @inlinable @inline(__always) @_noLocks
  func start(_ link: UInt64) -> UInt64 { base &+ link &<< Self.granuleShift }

  /// Where the entry of a range lies; the index may carry the bit of a link.
  @unsafe @inlinable @inline(__always) @_noLocks
  func entry(_ index: UInt64) -> UnsafeMutablePointer<UInt64> {
    // In bytes, which shifts the bit of a link out.
    unsafe (UnsafeMutableRawPointer(words + Self.tableOffset) + Int(truncatingIfNeeded: index &<< 3))
      .assumingMemoryBound(to: UInt64.self)
  }

  /// Takes the range on top of a magazine out of it.
  @inlinable @inline(__always) @_noLocks
  mutating func pop(_ link: UInt64, _ granules: UInt64, byteCountMinusOne: UInt64) {
    // SAFETY: a link in a magazine is to an entry of the table.
    let entry = unsafe entry(link)
    let magazine = unsafe words + Int(truncatingIfNeeded: granules)
    unsafe magazine[0] = unsafe entry.pointee
    unsafe magazine[Self.roomOffset] &+= 1
    unsafe entry.pointee = byteCountMinusOne
  }

  /// Puts a range that is handed out into its magazine.
  /// - Returns: False where it is not handed out, has no entry, or its magazine is full; in the last case the
  ///   magazine must be trimmed: its room is negative.
  @inlinable @inline(__always) @_noLocks
  mutating func push(start: UInt64, last: UInt64) -> Bool {
    let index = Self.granules(start &- base)
    let extent = last &- start
    // An extent with the bit of a link is of no range in the table.
    guard _fastPath(index < capacity), _fastPath(Int64(bitPattern: extent) >= 0) else { return false }
    // SAFETY: the index is within the table.
    let entry = unsafe entry(index)
    // The table has extents only of whole granules, up to the largest: one comparison checks state, length
    // and alignment.
    guard _fastPath(unsafe entry.pointee == extent) else { return false }
    let magazine = unsafe words + (Int(truncatingIfNeeded: extent &>> Self.granuleShift) &+ 1)
    unsafe magazine[Self.roomOffset] &-= 1
    guard _fastPath(unsafe Int64(bitPattern: magazine[Self.roomOffset]) >= 0) else { return false }
    unsafe entry.pointee = unsafe magazine[0]
    unsafe magazine[0] = index | linkBit
    return true
  }
}

// MARK: Off the path

extension IOVAMagazines {
  /// The index of a range that may have an entry, however great.
  private func index(of range: IOVARange) -> UInt64? {
    let index = Self.granules(range.start.rawValue &- base)
    let isWhole = range.byteCountMinusOne & (Self.granuleByteCount - 1) == Self.granuleByteCount - 1
    // Address 0 has none, so that no magazine ever holds it.
    guard index < Self.greatestCapacity, isWhole, range.start.rawValue != 0,
      range.byteCountMinusOne >> Self.granuleShift < Self.largest
    else { return nil }
    return index
  }

  private subscript(index: UInt64) -> UInt64 {
    get {
      precondition(index & ~linkBit < capacity)
      // SAFETY: within the table, checked above.
      return unsafe entry(index).pointee
    }
    set {
      precondition(index & ~linkBit < capacity)
      unsafe entry(index).pointee = newValue
    }
  }

  /// Notes that a range is handed out.
  /// - Parameter byChoice: The table grows for it; other ranges lie anywhere.
  /// - Returns: False where the range has no entry.
  mutating func note(_ range: IOVARange, byChoice: Bool) -> Bool {
    guard let index = index(of: range) else { return false }
    if index >= capacity {
      guard byChoice else { return false }
      grow(toHold: index)
    }
    self[index] = range.byteCountMinusOne
    return true
  }

  /// Whether a range is noted as handed out, both ends alike.
  func isNoted(_ range: IOVARange) -> Bool {
    guard let index = index(of: range), index < capacity else { return false }
    return self[index] == range.byteCountMinusOne
  }

  /// Forgets the ranges handed out that `isKept` does not want, and says which these were.
  ///
  /// The magazines are empty.
  mutating func forget(unless isKept: (IOVARange) -> Bool) -> [IOVARange] {
    var forgotten: [IOVARange] = []
    for index in 0..<capacity where self[index] != 0 {
      let range = IOVARange(uncheckedStart: start(index), last: start(index) &+ self[index])
      guard !isKept(range) else { continue }
      self[index] = 0
      forgotten.append(range)
    }
    return forgotten
  }

  /// Empties all magazines into the set of free ranges; says whether there was anything.
  mutating func drain(into free: inout IOVATree) -> Bool {
    var found = false
    for granules in 1...Self.largest where top(granules) != 0 {
      found = true
      release(listFrom: top(granules), granules, into: &free)
      unsafe words[Int(granules)] = 0
      unsafe words[Self.roomOffset + Int(granules)] = Self.depth
    }
    return found
  }

  /// Empties the older half of the magazine for ranges as long as this one, which is noted.
  mutating func trim(like range: IOVARange, into free: inout IOVATree) {
    let granules = range.byteCountMinusOne >> Self.granuleShift + 1
    var (newest, count) = (top(granules), UInt64(1))
    precondition(newest != 0, "only a full magazine is trimmed")
    while count < Self.depth / 2, self[newest] != 0 {
      newest = self[newest]
      count += 1
    }
    release(listFrom: self[newest], granules, into: &free)
    self[newest] = 0
    unsafe words[Self.roomOffset + Int(granules)] = Self.depth - count
  }

  private mutating func release(listFrom first: UInt64, _ granules: UInt64, into free: inout IOVATree) {
    var link = first
    while link != 0 {
      let next = self[link]
      self[link] = 0
      let last = start(link) + (granules << Self.granuleShift - 1)
      free.join(IOVARange(start: IOVA(start(link)), last: IOVA(last)))
      link = next
    }
  }

  private mutating func grow(toHold index: UInt64) {
    var larger = max(capacity, 512)
    while larger <= index { larger *= 2 }
    let used = Self.tableOffset + Int(capacity)
    let block = UnsafeMutablePointer<UInt64>.allocate(capacity: Self.tableOffset + Int(larger))
    // SAFETY: the new block is longer; its rest is zeroed.
    unsafe block.initialize(from: words, count: used)
    unsafe (block + used).initialize(repeating: 0, count: Int(larger - capacity))
    unsafe words.deallocate()
    unsafe words = block
    capacity = larger
  }
}
