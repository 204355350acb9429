// SPDX-License-Identifier: Apache-2.0

/// Sets of addresses as arrays of ranges that are sorted and do not touch: what ``merged(_:)`` returns.
extension IOVARange {
  /// The same addresses, sorted, and joined where ranges touch or overlap.
  static func merged(_ ranges: [IOVARange]) -> [IOVARange] {
    var merged: [IOVARange] = []
    for range in ranges.sorted(by: { $0.start < $1.start }) {
      if let end = merged.last, end.last.rawValue == .max || range.start.rawValue <= end.last.rawValue + 1 {
        merged[merged.count - 1] = IOVARange(start: end.start, last: max(end.last, range.last))
      } else {
        merged.append(range)
      }
    }
    return merged
  }

  /// The addresses that both sets have.
  static func intersection(_ left: [IOVARange], _ right: [IOVARange]) -> [IOVARange] {
    var (common, l, r) = ([IOVARange](), 0, 0)
    while l < left.count, r < right.count {
      if left[l].overlaps(right[r]) {
        common.append(
          IOVARange(start: max(left[l].start, right[r].start), last: min(left[l].last, right[r].last)))
      }
      if left[l].last < right[r].last { l += 1 } else { r += 1 }
    }
    return common
  }

  /// The addresses of the first set that the second has not.
  static func difference(_ left: [IOVARange], _ right: [IOVARange]) -> [IOVARange] {
    var gaps: [IOVARange] = []
    var start: UInt64? = 0
    for range in right {
      if let first = start, first < range.start.rawValue {
        gaps.append(IOVARange(start: IOVA(first), last: IOVA(range.start.rawValue - 1)))
      }
      start = range.last.rawValue == .max ? nil : range.last.rawValue + 1
    }
    if let first = start { gaps.append(IOVARange(start: IOVA(first), last: IOVA(.max))) }
    return intersection(left, gaps)
  }
}
