// SPDX-License-Identifier: Apache-2.0
internal import LinuxHandles
internal import SystemPackage

/// Hands out I/O virtual addresses, only from the ranges that the kernel allows.
///
/// Free ranges are kept sorted and coalesced; the lowest one that fits is taken, so that devices that reach
/// few address bits find room.
public struct IOVAAllocator: Sendable {
  /// Why no address was given or taken back.
  public enum Failure: Error, Hashable, Sendable {
    /// No free range is long enough below the device's limit.
    case exhausted
    /// A part of the range asked for is handed out already.
    case taken
    /// A part of the range asked for is not allowed (reserved for interrupts, beyond the aperture).
    case notAllowed
    /// The range given back was not handed out as such.
    case notAllocated
  }

  /// The ranges that may be used, sorted.
  public private(set) var allowed: [IOVARange]
  private var free: [IOVARange]

  /// Starts with everything free.
  /// - Parameter allowed: In any order; overlaps are merged.
  public init(allowed: [IOVARange]) {
    self.allowed = Self.merge(allowed)
    free = self.allowed
  }

  private static func merge(_ ranges: [IOVARange]) -> [IOVARange] {
    var merged: [IOVARange] = []
    for range in ranges.sorted(by: { $0.start < $1.start }) {
      if let end = merged.last, range.start.rawValue <= end.last.rawValue &+ 1 || end.last.rawValue == .max {
        merged[merged.count - 1] = IOVARange(start: end.start, last: max(end.last, range.last))
      } else {
        merged.append(range)
      }
    }
    return merged
  }

  /// Forbids what `ranges` leave out.
  ///
  /// What is handed out stays so; a kernel that forbids it says so itself.
  public mutating func narrow(to ranges: [IOVARange]) {
    allowed = Self.merge(ranges)
    free = free.flatMap { range in
      allowed.compactMap { part in
        guard part.overlaps(range) else { return nil }
        return IOVARange(start: max(part.start, range.start), last: min(part.last, range.last))
      }
    }
  }

  /// Takes the lowest free range of this length.
  /// - Parameters:
  ///   - byteCount: In bytes; a multiple of `alignment`.
  ///   - alignment: In bytes; a power of two.
  ///   - limit: The highest address that the device reaches, inclusive.
  public mutating func allocate(
    byteCount: UInt64, alignment: UInt64, upTo limit: IOVA
  ) throws(Failure) -> IOVARange {
    precondition(byteCount > 0 && alignment.nonzeroBitCount == 1, "a length, and a power of two")
    for index in free.indices {
      let range = free[index]
      let (sum, overflow) = range.start.rawValue.addingReportingOverflow(alignment - 1)
      // Address 0 is never handed out: too many devices and drivers take it for "none".
      let start = max(overflow ? .max : sum & ~(alignment - 1), alignment)
      guard !overflow, let wanted = IOVARange(start: IOVA(start), byteCount: byteCount),
        wanted.last <= min(limit, range.last)
      else { continue }
      carve(wanted, fromFreeRangeAt: index)
      return wanted
    }
    throw .exhausted
  }

  /// Takes exactly this range.
  public mutating func reserve(_ wanted: IOVARange) throws(Failure) {
    guard allowed.contains(where: { $0.contains(wanted) }) else { throw .notAllowed }
    guard let index = free.firstIndex(where: { $0.contains(wanted) }) else { throw .taken }
    carve(wanted, fromFreeRangeAt: index)
  }

  /// Takes a range back.
  public mutating func deallocate(_ range: IOVARange) throws(Failure) {
    guard !free.contains(where: { $0.overlaps(range) }) else { throw .notAllocated }
    // What was forbidden since it was handed out does not come back.
    for part in allowed where part.overlaps(range) {
      insert(IOVARange(start: max(part.start, range.start), last: min(part.last, range.last)))
    }
  }

  private mutating func insert(_ range: IOVARange) {
    let index = free.firstIndex { $0.start > range.last } ?? free.endIndex
    var start = range.start
    var last = range.last
    var replaced = index..<index
    if index > 0, free[index - 1].last.rawValue &+ 1 == start.rawValue {
      start = free[index - 1].start
      replaced = (index - 1)..<index
    }
    if index < free.endIndex, last.rawValue &+ 1 == free[index].start.rawValue {
      last = free[index].last
      replaced = replaced.lowerBound..<(index + 1)
    }
    free.replaceSubrange(replaced, with: [IOVARange(start: start, last: last)])
  }

  private mutating func carve(_ wanted: IOVARange, fromFreeRangeAt index: Int) {
    let range = free[index]
    var rest: [IOVARange] = []
    if range.start < wanted.start {
      rest.append(IOVARange(start: range.start, last: IOVA(wanted.start.rawValue - 1)))
    }
    if wanted.last < range.last {
      rest.append(IOVARange(start: IOVA(wanted.last.rawValue + 1), last: range.last))
    }
    free.replaceSubrange(index...index, with: rest)
  }
}
