// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// How many address spaces reach each page of some memory: one word a page, changed by compare-and-exchange.
///
/// A word is 0 (the page is its owner's alone), the number of its shares, or the mark of a page that was
/// given away. There is no lock: threads that work on different pages do not meet, and threads that work on
/// the same ones agree page by page. A range is all or nothing: what was done before a page refuses is
/// undone in reverse order.
///
/// 4 bytes a page. ``PageShares`` adds who the sharers are.
@safe
public struct PageShareTable: ~Copyable, @unchecked Sendable {
  /// A page that refused, and its word at that moment.
  struct Refusal {
    let page: Int
    let word: UInt32
  }

  /// The word of a page that was given away.
  static var donated: UInt32 { .max }
  /// The largest number of shares that a page can have.
  ///
  /// Far from the mark: a wrong unshare that is undone may pass it for a moment.
  public static var largestMaximum: UInt32 { 1 << 31 }

  /// The number of pages.
  public let pageCount: Int
  /// The number of shares after which a page refuses further ones.
  public let maximum: UInt32
  private let words: UnsafeMutablePointer<Atomic<UInt32>>

  /// Starts with pages that nobody shares.
  /// - Parameters:
  ///   - pageCount: At least 1.
  ///   - maximum: The number of shares at which a page is full; at least 1.
  /// - Throws: `PageShareError`: `badRange` for no page; `outOfMemory`.
  public init(pageCount: Int, maximum: UInt32 = largestMaximum) throws(PageShareError) {
    precondition(maximum >= 1 && maximum <= Self.largestMaximum, "a page takes 1 to 2^31 shares")
    guard pageCount > 0 else { throw PageShareError(.badRange, pages: 0..<0, page: 0) }
    // Zeroed by the kernel where it is large, so that pages that are never shared cost address space only.
    guard let bytes = unsafe calloc(pageCount, MemoryLayout<Atomic<UInt32>>.stride) else {
      throw PageShareError(.outOfMemory, pages: 0..<pageCount, page: 0)
    }
    // SAFETY: an atomic word has the representation of its value, and all are zero.
    unsafe words = unsafe bytes.bindMemory(to: Atomic<UInt32>.self, capacity: pageCount)
    self.pageCount = pageCount
    self.maximum = maximum
  }

  deinit { unsafe free(words) }

  /// The number of shares of a page; 0 too for one that was given away.
  public func count(ofPage page: Int) -> UInt32 {
    let word = word(ofPage: page)
    return word == Self.donated ? 0 : word
  }

  func word(ofPage page: Int) -> UInt32 {
    precondition(page >= 0 && page < pageCount, "a page of this memory")
    return unsafe words[page].load(ordering: .acquiring)
  }

  func check(_ pages: Range<Int>) throws(PageShareError) {
    guard !pages.isEmpty, pages.lowerBound >= 0, pages.upperBound <= pageCount else {
      throw PageShareError(.badRange, pages: pages, page: pages.lowerBound)
    }
  }

  /// Adds one share to each page of a range that is of these pages, or to none.
  @inline(__always)
  func add(_ pages: Range<Int>) -> Bool { add(pages.lowerBound, pages.upperBound) == nil }

  /// Takes one share off each page of a range that is of these pages, or off none.
  @inline(__always)
  func subtract(_ pages: Range<Int>) -> Bool { subtract(pages.lowerBound, pages.upperBound) == nil }

  /// Adds one share to each page of a range, or to none.
  /// - Throws: `PageShareError`: `saturated`, `donated` or `badRange`.
  public func share(_ pages: Range<Int>) throws(PageShareError) {
    try check(pages)
    guard let refusal = add(pages.lowerBound, pages.upperBound) else { return }
    throw PageShareError(
      refusal.word == Self.donated ? .donated : .saturated, pages: pages, page: refusal.page)
  }

  /// Takes one share off each page of a range, or off none.
  /// - Throws: `PageShareError`: `notShared` or `badRange`.
  public func unshare(_ pages: Range<Int>) throws(PageShareError) {
    try check(pages)
    guard let refusal = subtract(pages.lowerBound, pages.upperBound) else { return }
    throw PageShareError(.notShared, pages: pages, page: refusal.page)
  }

  /// Marks pages that nobody shares as given away, all or none.
  ///
  /// A share that races a donation may be refused even where the donation is, in the end, refused too.
  /// - Throws: `PageShareError`: `shared`, `donated` or `badRange`.
  public func donate(_ pages: Range<Int>) throws(PageShareError) {
    try check(pages)
    guard let refusal = mark(pages.lowerBound, pages.upperBound) else { return }
    throw PageShareError(
      refusal.word == Self.donated ? .donated : .shared, pages: pages, page: refusal.page)
  }

  /// The first page whose word is another than `word`.
  @inline(__always)
  func firstPage(in pages: Range<Int>, whoseWordIsNot word: UInt32) -> Refusal? {
    for page in pages {
      let seen = unsafe words[page].load(ordering: .acquiring)
      if seen != word { return Refusal(page: page, word: seen) }
    }
    return nil
  }

  // SAFETY of the loops: start..<end was checked against pageCount by their callers.

  @_noLocks
  private func add(_ start: Int, _ end: Int) -> Refusal? {
    var page = start
    while page < end {
      var word = unsafe words[page].load(ordering: .relaxed)
      while true {
        // One comparison for both: the mark of a donated page is above every maximum.
        if word >= maximum {
          let refusal = Refusal(page: page, word: word)
          // Our own share protects each page from being given away, so that it can be taken off blindly.
          while page > start {
            page &-= 1
            unsafe words[page].wrappingSubtract(1, ordering: .releasing)
          }
          return refusal
        }
        let (isDone, seen) = unsafe words[page].weakCompareExchange(
          expected: word, desired: word &+ 1, successOrdering: .acquiring, failureOrdering: .relaxed)
        if isDone { break }
        word = seen
      }
      page &+= 1
    }
    return nil
  }

  @inline(__always) @_noLocks
  private func subtract(_ start: Int, _ end: Int) -> Refusal? {
    // A look at all pages first, where there are several: a wrong call never makes a page look free, not even for a
    // moment, unless it races another one.
    var page = end &- start == 1 ? end : start
    while page < end {
      let word = unsafe words[page].load(ordering: .relaxed)
      if Self.isUnshared(word) { return Refusal(page: page, word: word) }
      page &+= 1
    }
    page = start
    while page < end {
      var word = unsafe words[page].load(ordering: .relaxed)
      while true {
        if Self.isUnshared(word) {
          restore(from: page, downTo: start)
          return Refusal(page: page, word: word)
        }
        let (isDone, seen) = unsafe words[page].weakCompareExchange(
          expected: word, desired: word &- 1, successOrdering: .releasing, failureOrdering: .relaxed)
        if isDone { break }
        word = seen
      }
      page &+= 1
    }
    return nil
  }

  /// Whether a word is 0 or the mark, which is -1.
  @inline(__always) @_noLocks
  private static func isUnshared(_ word: UInt32) -> Bool { word &+ 1 <= 1 }

  @_noLocks
  private func restore(from end: Int, downTo start: Int) {
    var page = end
    while page > start {
      page &-= 1
      var word = unsafe words[page].load(ordering: .relaxed)
      while true {
        precondition(word != Self.donated, "a share was ended twice while its pages were given away")
        let (isDone, seen) = unsafe words[page].weakCompareExchange(
          expected: word, desired: word &+ 1, successOrdering: .acquiring, failureOrdering: .relaxed)
        if isDone { break }
        word = seen
      }
    }
  }

  @_noLocks
  private func mark(_ start: Int, _ end: Int) -> Refusal? {
    // A look at all pages first: a refusal does not disturb who shares the other pages meanwhile.
    var page = start
    while page < end {
      let word = unsafe words[page].load(ordering: .acquiring)
      if word != 0 { return Refusal(page: page, word: word) }
      page &+= 1
    }
    page = start
    while page < end {
      let (isDone, seen) = unsafe words[page].compareExchange(
        expected: 0, desired: Self.donated, successOrdering: .acquiring, failureOrdering: .acquiring)
      if !isDone {
        let refusal = Refusal(page: page, word: seen)
        while page > start {
          page &-= 1
          // Nobody changes a marked page but who marked it.
          unsafe words[page].store(0, ordering: .releasing)
        }
        return refusal
      }
      page &+= 1
    }
    return nil
  }
}
