// SPDX-License-Identifier: Apache-2.0

/// Which pages of a range of addresses devices may have written: one bit a page.
///
/// Its elements are the dirty ranges, in order, pages that touch joined.
public struct DirtyBitmap: Hashable, Sendable {
  /// The addresses that it tells about; the first begins a page.
  public let range: IOVARange
  /// The size of a page in bytes; a power of two.
  public let pageByteCount: Int
  /// Bit `n % 64` of word `n / 64` is page `n` of the range.
  private var words: [UInt64]

  /// A bitmap of clean pages.
  public init(of range: IOVARange, pageByteCount: Int) {
    self.init(
      of: range, pageByteCount: pageByteCount,
      words: [UInt64](repeating: 0, count: Self.wordCount(of: range, pageByteCount: pageByteCount)))
  }

  /// A bitmap as the kernel fills it in.
  /// - Parameter words: One bit a page, lowest first; what lies past the range's last page is ignored.
  public init(of range: IOVARange, pageByteCount: Int, words: [UInt64]) {
    precondition(
      pageByteCount > 0 && pageByteCount & (pageByteCount - 1) == 0, "a page's size is a power of two")
    precondition(
      words.count == Self.wordCount(of: range, pageByteCount: pageByteCount), "one bit for each page")
    self.range = range
    self.pageByteCount = pageByteCount
    self.words = words
    let rest = UInt64(Self.pageCount(of: range, pageByteCount: pageByteCount) % 64)
    if rest != 0 { self.words[words.count - 1] &= (1 << rest) - 1 }
  }

  /// How many pages a range has.
  static func pageCount(of range: IOVARange, pageByteCount: Int) -> Int {
    Int(range.byteCountMinusOne / UInt64(pageByteCount)) + 1
  }

  /// How many words of 64 bits a range needs.
  package static func wordCount(of range: IOVARange, pageByteCount: Int) -> Int {
    (pageCount(of: range, pageByteCount: pageByteCount) + 63) / 64
  }

  /// How many pages are dirty.
  public var dirtyPageCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// Whether the page of an address is dirty; the address lies in ``range``.
  public func isDirty(_ address: IOVA) -> Bool {
    precondition(range.start <= address && address <= range.last, "an address of the bitmap's range")
    let page = Int((address.rawValue - range.start.rawValue) / UInt64(pageByteCount))
    return words[page / 64] >> UInt64(page % 64) & 1 != 0
  }

  /// Adds the dirty pages of a later bitmap of the same range.
  public mutating func formUnion(_ other: DirtyBitmap) {
    precondition(
      other.range == range && other.pageByteCount == pageByteCount, "two bitmaps of the same pages")
    for index in words.indices { words[index] |= other.words[index] }
  }
}

extension DirtyBitmap: Sequence {
  /// Goes through the dirty ranges.
  public struct Iterator: IteratorProtocol {
    fileprivate let bitmap: DirtyBitmap
    fileprivate let pageCount: Int
    fileprivate var page = 0

    /// The next page from `page` on whose bit is as wanted; the number of pages where there is none.
    private func firstPage(from page: Int, dirty: Bool) -> Int {
      var page = page
      while page < pageCount {
        let word = dirty ? bitmap.words[page / 64] : ~bitmap.words[page / 64]
        let rest = word >> UInt64(page % 64)
        if rest != 0 { return Swift.min(page + rest.trailingZeroBitCount, pageCount) }
        page = (page / 64 + 1) * 64
      }
      return pageCount
    }

    /// The next range, or nil at the end.
    public mutating func next() -> IOVARange? {
      let first = firstPage(from: page, dirty: true)
      guard first < pageCount else { return nil }
      let end = firstPage(from: first, dirty: false)
      page = end
      let unit = UInt64(bitmap.pageByteCount)
      let start = bitmap.range.start.rawValue + UInt64(first) * unit
      return IOVARange(start: IOVA(start), last: IOVA(start + (UInt64(end - first) * unit - 1)))
    }
  }

  /// Starts at the range's beginning.
  public func makeIterator() -> Iterator {
    Iterator(bitmap: self, pageCount: Self.pageCount(of: range, pageByteCount: pageByteCount))
  }
}
