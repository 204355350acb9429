// SPDX-License-Identifier: Apache-2.0

/// Hands out I/O virtual addresses, only from the ranges that the kernel allows.
///
/// Free ranges lie in an ordered tree and are joined with their neighbours; the lowest one that fits is
/// taken, so that devices that reach few address bits find room. In front of the tree there is a magazine for
/// each length up to 2 MiB: a range that is given back is handed out again without a look at the tree. The
/// magazines are emptied into the tree before any request is refused, so free space is never out of reach.
///
/// It has one owner and no lock; ``IOVAReservations`` shares one between threads. Apart from the tree's 40
/// bytes per free range it needs 8 bytes per 4 KiB of the addresses handed out by choice, at most 128 MiB
/// (64 GiB of addresses); beyond that, and for ranges that are not of whole 4 KiB or longer than 2 MiB, the
/// trees do all the work.
@frozen
public struct IOVAAllocator: ~Copyable, Sendable {
  /// Why no address was given or taken back.
  @frozen
  public enum Failure: Error, Hashable, Sendable {
    /// No free range is long enough below the device's limit.
    case exhausted
    /// A part of the range asked for is handed out already.
    case taken
    /// A part of the range asked for is not allowed: reserved for interrupts, beyond the aperture, or beyond
    /// the end of 64 bits.
    case notAllowed
    /// The range given back was not handed out as such, or was given back already.
    case notAllocated
  }

  /// The ranges that may be used, sorted.
  public private(set) var allowed: [IOVARange]
  @usableFromInline var magazines: IOVAMagazines
  @usableFromInline var free: IOVATree
  /// What is handed out and has no entry in the table of the magazines.
  @usableFromInline var unlisted: IOVATree

  /// Starts with everything free.
  /// - Parameters:
  ///   - allowed: In any order; overlaps are merged.
  ///   - reserved: What is never handed out, in any order: windows of interrupts, direct mappings.
  ///   - addressBits: How many address bits all devices and the IOMMU have; 1 to 64.
  public init(allowed: [IOVARange], reserved: [IOVARange] = [], addressBits: Int = 64) {
    let reach = IOVARange(start: IOVA(0), last: .highest(addressBits: addressBits))
    let ranges = IOVARange.intersection(IOVARange.merged(allowed), [reach])
    self.allowed = IOVARange.difference(ranges, IOVARange.merged(reserved))
    magazines = IOVAMagazines(lowest: self.allowed.first?.start ?? IOVA(0))
    free = IOVATree()
    unlisted = IOVATree()
    for range in self.allowed { free.insert(range) }
  }

  /// Takes a free range of this length: one that was given back lately, or the lowest that fits.
  ///
  /// Address 0 is not handed out here; ``reserve(_:)`` may take it.
  /// - Parameters:
  ///   - byteCount: In bytes, not 0.
  ///   - alignment: Of the first address, in bytes; a power of two.
  ///   - limit: The highest address that the device reaches, inclusive; see ``IOVA/highest(addressBits:)``.
  /// - Throws: `exhausted`, when no range that is free below the limit is long enough.
  @inlinable @inline(__always)
  public mutating func allocate(
    byteCount: UInt64, alignment: UInt64, upTo limit: IOVA = IOVA(.max)
  ) throws(Failure) -> IOVARange {
    let granules = IOVAMagazines.granules(byteCount)
    if _fastPath(granules <= IOVAMagazines.largest) {
      let link = magazines.top(granules)
      let start = magazines.start(link)
      let last = start &+ (byteCount &- 1)
      if _fastPath(link != 0), _fastPath(last <= limit.rawValue),
        _fastPath(alignment <= IOVAMagazines.granuleByteCount || start & (alignment &- 1) == 0)
      {
        magazines.pop(link, granules, byteCountMinusOne: byteCount &- 1)
        return IOVARange(uncheckedStart: start, last: last)
      }
    }
    return try allocateFromTree(byteCount, alignment, limit.rawValue)
  }

  /// Takes a range back.
  ///
  /// What was forbidden since it was handed out does not become free.
  /// - Throws: `notAllocated`, when the range is not one that is handed out, both ends alike.
  @inlinable @inline(__always)
  public mutating func deallocate(_ range: IOVARange) throws(Failure) {
    if _fastPath(magazines.push(start: range.start.rawValue, last: range.last.rawValue)) { return }
    try deallocateToTree(range)
  }

  /// Takes exactly this range.
  /// - Throws: `notAllowed`, or `taken` when a part of it is handed out.
  public mutating func reserve(_ wanted: IOVARange) throws(Failure) {
    guard allowed.contains(where: { $0.contains(wanted) }) else { throw .notAllowed }
    if !free.contains(wanted) {
      // What is missing may lie in a magazine.
      guard magazines.drain(into: &free), free.contains(wanted) else { throw .taken }
    }
    handOut(wanted, byChoice: false)
  }

  /// Takes exactly the range of this length from this address on.
  /// - Throws: As ``reserve(_:)``; `notAllowed` too for no byte, or where the range passes the end of 64 bits.
  public mutating func reserve(at start: IOVA, byteCount: UInt64) throws(Failure) {
    guard let range = IOVARange(start: start, byteCount: byteCount) else { throw .notAllowed }
    try reserve(range)
  }

  /// Forbids what `ranges` leave out.
  ///
  /// What is handed out stays so; a kernel that forbids it says so itself.
  /// - Parameter ranges: In any order. What is forbidden already stays so.
  public mutating func narrow(to ranges: [IOVARange]) {
    allowed = IOVARange.intersection(allowed, IOVARange.merged(ranges))
    _ = magazines.drain(into: &free)
    var rest = IOVATree()
    for range in IOVARange.intersection(freeRanges, allowed) { rest.insert(range) }
    free = rest
    // What is handed out and now forbidden must not go through a magazine when it comes back.
    let kept = allowed
    for range in magazines.forget(unless: { range in kept.contains { $0.contains(range) } }) {
      unlisted.insert(range)
    }
  }

  /// The ranges that are free, without what the magazines hold: sorted, no two of them touch.
  ///
  /// For tests and messages; it looks at all of them. ``collect()`` empties the magazines.
  public var freeRanges: [IOVARange] {
    var ranges: [IOVARange] = []
    free.forEach { ranges.append($0) }
    return ranges
  }

  /// Empties the magazines, so that all that is free is joined with its neighbours.
  public mutating func collect() { _ = magazines.drain(into: &free) }
}

// MARK: Off the path

extension IOVAAllocator {
  @usableFromInline @inline(never)
  mutating func allocateFromTree(
    _ byteCount: UInt64, _ alignment: UInt64, _ limit: UInt64
  ) throws(Failure) -> IOVARange {
    precondition(byteCount > 0 && alignment.nonzeroBitCount == 1, "a length, and a power of two")
    var start = free.lowestFit(byteCountMinusOne: byteCount - 1, alignment: alignment, upTo: limit)
    if start == nil, magazines.drain(into: &free) {
      start = free.lowestFit(byteCountMinusOne: byteCount - 1, alignment: alignment, upTo: limit)
    }
    guard let start else { throw .exhausted }
    let range = IOVARange(start: IOVA(start), last: IOVA(start + (byteCount - 1)))
    handOut(range, byChoice: true)
    return range
  }

  @usableFromInline @inline(never)
  mutating func deallocateToTree(_ range: IOVARange) throws(Failure) {
    if magazines.isNoted(range) {
      magazines.trim(like: range, into: &free)
      _ = magazines.push(start: range.start.rawValue, last: range.last.rawValue)
      return
    }
    guard unlisted.remove(range) else { throw .notAllocated }
    for part in IOVARange.intersection([range], allowed) { free.join(part) }
  }

  private mutating func handOut(_ range: IOVARange, byChoice: Bool) {
    free.carve(range)
    if !magazines.note(range, byChoice: byChoice) { unlisted.insert(range) }
  }
}
