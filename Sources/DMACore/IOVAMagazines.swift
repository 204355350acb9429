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
/// one handed out by choice, at most 64 GiB further: 4 bytes per 4 KiB. Other ranges have no entry.
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
  @inlinable static var depth: UInt32 { 128 }
  /// Where the table begins behind the magazines, in bytes.
  ///
  /// A magazine is two words: the index of the range
  /// on top (0: none), and the room left. Length 0 has one, which stays empty.
  @inlinable static var tableOffset: Int { 513 * 8 + 56 }
  /// The greatest number of entries: 64 GiB of addresses, 64 MiB of table.
  static var greatestCapacity: UInt64 { 1 << 24 }

  /// Magazines, then the table.
  ///
  /// Entries: 0 nothing is known; negative: the low word of `start - last` of a
  /// range handed out; positive: the index of the next range of a magazine, or 0.
  @usableFromInline var storage: UnsafeMutableRawPointer
  /// The address of entry 0, which is never used; one granule below the lowest address.
  @usableFromInline let base: UInt64
  /// How many entries the table has.
  @usableFromInline var capacity: UInt64 = 0

  /// Starts empty.
  /// - Parameter lowest: No address below it will be kept.
  init(lowest: IOVA) {
    base = lowest.rawValue & ~(Self.granuleByteCount - 1) &- Self.granuleByteCount
    unsafe storage = .allocate(byteCount: Self.tableOffset, alignment: 64)
    unsafe storage.initializeMemory(as: UInt8.self, repeating: 0, count: Self.tableOffset)
    for granules in 1...Self.largest { setRoom(granules, Self.depth) }
  }

  @usableFromInline
  deinit { unsafe storage.deallocate() }

  /// Takes a range of this length out of its magazine.
  /// - Parameter limit: The greatest address it may reach, inclusive.
  /// - Returns: Its first address; 0 where the range on top does not fit, or there is none.
  @inlinable @inline(__always) @_noLocks
  mutating func take(byteCount: UInt64, alignment: UInt64, upTo limit: UInt64) -> UInt64 {
    // Rotated, so that a length that is not of whole granules is a great number.
    let granules = byteCount &>> Self.granuleShift | byteCount &<< (64 &- Self.granuleShift)
    guard granules <= Self.largest else { return 0 }
    // SAFETY: there is a magazine for each length up to the largest; an index in it is within the table.
    let magazine = unsafe storage + Int(truncatingIfNeeded: granules &* 8)
    let index = unsafe UInt64(magazine.load(as: UInt32.self))
    guard index != 0 else { return 0 }
    let start = base &+ index &<< Self.granuleShift
    guard start &+ (byteCount &- 1) <= limit,
      alignment <= Self.granuleByteCount || start & (alignment &- 1) == 0
    else { return 0 }
    let entry = unsafe storage + (Self.tableOffset &+ Int(truncatingIfNeeded: index &* 4))
    unsafe magazine.storeBytes(of: entry.load(as: UInt32.self), as: UInt32.self)
    let room = unsafe magazine.load(fromByteOffset: 4, as: UInt32.self)
    unsafe magazine.storeBytes(of: room &+ 1, toByteOffset: 4, as: UInt32.self)
    unsafe entry.storeBytes(of: UInt32(truncatingIfNeeded: 1 &- byteCount), as: UInt32.self)
    return start
  }

  /// Puts a range that is handed out into its magazine.
  /// - Returns: False where nothing changed: it is not handed out, has no entry, or its magazine is full.
  @inlinable @inline(__always) @_noLocks
  mutating func give(start: UInt64, last: UInt64) -> Bool {
    let offset = start &- base
    let index = offset &>> Self.granuleShift | offset &<< (64 &- Self.granuleShift)
    let mark = start &- last  // negative, but for a single byte
    guard index < capacity, mark >= 1 &- Self.largest &<< Self.granuleShift else { return false }
    // SAFETY: the index is within the table; only lengths up to the largest pass.
    let entry = unsafe storage + (Self.tableOffset &+ Int(truncatingIfNeeded: index &* 4))
    // Marks are only those of whole granules: one comparison checks state, length and alignment.
    guard unsafe entry.load(as: UInt32.self) == UInt32(truncatingIfNeeded: mark) else { return false }
    let magazine = unsafe storage + (8 &+ Int(truncatingIfNeeded: (0 &- mark) &>> Self.granuleShift &* 8))
    let room = unsafe magazine.load(fromByteOffset: 4, as: UInt32.self)
    guard room != 0 else { return false }
    unsafe magazine.storeBytes(of: room &- 1, toByteOffset: 4, as: UInt32.self)
    unsafe entry.storeBytes(of: magazine.load(as: UInt32.self), as: UInt32.self)
    unsafe magazine.storeBytes(of: UInt32(truncatingIfNeeded: index), as: UInt32.self)
    return true
  }
}

// MARK: Off the path

extension IOVAMagazines {
  /// The entry of a range that may have one.
  private func index(of range: IOVARange) -> UInt64? {
    let offset = range.start.rawValue &- base
    let mask = Self.granuleByteCount - 1
    // An entry has 31 bits for the length. Address 0 has none, so that no magazine ever holds it.
    guard offset & mask == 0, range.byteCountMinusOne & mask == mask, range.byteCountMinusOne < 1 << 31,
      range.start.rawValue != 0
    else { return nil }
    return offset >> Self.granuleShift
  }

  private subscript(index: UInt64) -> UInt32 {
    get {
      precondition(index < capacity)
      // SAFETY: within the table, checked above.
      return unsafe storage.load(fromByteOffset: Self.tableOffset + Int(index) * 4, as: UInt32.self)
    }
    set {
      precondition(index < capacity)
      unsafe storage.storeBytes(
        of: newValue, toByteOffset: Self.tableOffset + Int(index) * 4, as: UInt32.self)
    }
  }

  private func mark(of range: IOVARange) -> UInt32 {
    UInt32(truncatingIfNeeded: range.start.rawValue &- range.last.rawValue)
  }

  private func top(_ granules: UInt64) -> UInt32 {
    // SAFETY: a constant place before the table, for lengths up to the largest.
    unsafe storage.load(fromByteOffset: Int(granules) * 8, as: UInt32.self)
  }

  private mutating func setTop(_ granules: UInt64, _ index: UInt32) {
    unsafe storage.storeBytes(of: index, toByteOffset: Int(granules) * 8, as: UInt32.self)
  }

  private mutating func setRoom(_ granules: UInt64, _ room: UInt32) {
    unsafe storage.storeBytes(of: room, toByteOffset: Int(granules) * 8 + 4, as: UInt32.self)
  }

  /// Notes that a range is handed out.
  /// - Parameter byChoice: The table grows for it; other ranges lie anywhere.
  /// - Returns: False where the range has no entry.
  mutating func note(_ range: IOVARange, byChoice: Bool) -> Bool {
    guard let index = index(of: range), index < Self.greatestCapacity else { return false }
    if index >= capacity {
      guard byChoice else { return false }
      grow(toHold: index)
    }
    self[index] = mark(of: range)
    return true
  }

  /// Whether a range is noted as handed out, both ends alike.
  func isNoted(_ range: IOVARange) -> Bool {
    guard let index = index(of: range), index < capacity else { return false }
    return self[index] == mark(of: range)
  }

  /// Forgets a range that is noted.
  mutating func forget(_ range: IOVARange) {
    guard let index = index(of: range) else { preconditionFailure("a range without an entry") }
    self[index] = 0
  }

  /// Forgets the ranges handed out that `isKept` does not want, and says which these were.
  ///
  /// The magazines are empty.
  mutating func forget(unless isKept: (IOVARange) -> Bool) -> [IOVARange] {
    var forgotten: [IOVARange] = []
    for index in 0..<capacity where self[index] != 0 {
      let start = base &+ index << Self.granuleShift
      // Marks are `start - last` in 32 bits.
      let last = start &+ UInt64(0 &- self[index])
      let range = IOVARange(start: IOVA(start), last: IOVA(last))
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
      setTop(granules, 0)
      setRoom(granules, Self.depth)
    }
    return found
  }

  /// Empties the older half of the magazine for ranges as long as this one.
  mutating func trim(like range: IOVARange, into free: inout IOVATree) {
    let granules = range.byteCountMinusOne >> Self.granuleShift + 1
    guard granules <= Self.largest, top(granules) != 0 else { return }
    var newest = UInt64(top(granules))
    for _ in 1..<(Self.depth / 2) where self[newest] != 0 { newest = UInt64(self[newest]) }
    release(listFrom: self[newest], granules, into: &free)
    self[newest] = 0
    setRoom(granules, Self.depth / 2)
  }

  private mutating func release(listFrom first: UInt32, _ granules: UInt64, into free: inout IOVATree) {
    var index = UInt64(first)
    while index != 0 {
      let next = self[index]
      self[index] = 0
      let start = base &+ index << Self.granuleShift
      free.join(IOVARange(start: IOVA(start), last: IOVA(start + (granules << Self.granuleShift - 1))))
      index = UInt64(next)
    }
  }

  private mutating func grow(toHold index: UInt64) {
    var larger = max(capacity, 512)
    while larger <= index { larger *= 2 }
    let byteCount = Self.tableOffset + Int(larger) * 4
    let used = Self.tableOffset + Int(capacity) * 4
    let block = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    // SAFETY: the new block is longer; its rest is zeroed.
    unsafe block.copyMemory(from: storage, byteCount: used)
    unsafe (block + used).initializeMemory(as: UInt8.self, repeating: 0, count: byteCount - used)
    unsafe storage.deallocate()
    unsafe storage = block
    capacity = larger
  }
}
