// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// Who reaches which pages of some memory: its share ledger.
///
/// Pages are facts of a process, and a process has no globals here; so the ledger belongs to the memory. It
/// is made with the memory, moves with it from ``UnsharedMemory`` to ``DMAMemory`` and back, and every
/// address space that is given a part of it counts in the same words. Two spaces can so never disagree
/// about a page, a page of other memory is never touched, and whoever would free the memory holds the very
/// object that knows whether that is allowed.
///
/// ```
/// UnsharedMemory ──expose──▶ DMAMemory ──share(with:)──▶ DMAShare        calls, in this order
///        └──────────┬────────────┴──────────────┘                        1. addresses and record: table.insert
///              MemoryPages (one per mapping)                             2. ledger:    shares.shareExposed
///               ├─ the mapping: unmapped when all let go and            3. kernel:    space.mapPages
///               │  the ledger lets it be donated                        the end runs 3 to 1; a failure
///               └─ PageShares: a word per page + where to look          undoes what was done, last first
///                  for the holders
/// ```
/// An unmap that fails leaves the pages shared until the address space is gone.
///
/// The share of an address space is a count here and an entry in the table of its exposures; other shares
/// are objects that ``share(_:by:)`` makes. Sharing takes no lock of the ledger: a compare-and-exchange a
/// page, and one for a holder's object. Only who asks for names takes one. 4 bytes a page. All members may
/// be called from any thread.
public final class PageShares: Sendable {
  /// What the pages are.
  public enum Kind: Hashable, Sendable {
    /// Memory of the host.
    case hostMemory
    /// A device's: a BAR, a dma-buf. It cannot be shared as memory of the host, whoever asks.
    case deviceMemory
  }

  /// What the pages are.
  public let kind: Kind
  /// The size of a page in bytes.
  public let pageByteCount: Int
  private let pageShift: Int
  private let table: PageShareTable
  private let list = PageShareHolderList()
  private let spaces = ExposureTableList()

  struct NamedHolder {
    let label: String
    let pages: Range<Int>
  }

  /// Starts with pages that nobody shares.
  /// - Parameters:
  ///   - pageCount: At least 1.
  ///   - pageByteCount: The unit of the range arguments; a power of two.
  ///   - maximum: The number of shares at which a page is full; at least 1.
  /// - Throws: `PageShareError`: `badRange` for no page; `outOfMemory`.
  public init(
    pageCount: Int, pageByteCount: Int = MemoryPageSize.standard.byteCount, kind: Kind = .hostMemory,
    maximum: UInt32 = PageShareTable.largestMaximum
  ) throws(PageShareError) {
    self.kind = kind
    precondition(pageByteCount.nonzeroBitCount == 1, "a page has a power of two of bytes")
    self.pageByteCount = pageByteCount
    pageShift = pageByteCount.trailingZeroBitCount
    table = try PageShareTable(pageCount: pageCount, maximum: maximum)
  }

  /// The number of pages.
  public var pageCount: Int { table.pageCount }

  /// The number of shares of a page.
  public func count(ofPage page: Int) -> UInt32 {
    settle()
    return table.count(ofPage: page)
  }

  /// Adds one share to each page of a range, or to none; the first moves the page from owned to shared.
  /// - Parameter label: Who holds the share, as errors and listings name it.
  /// - Returns: The share, to be ended by ``unshare(_:)``.
  /// - Throws: `PageShareError`: `saturated`, `donated`, `deviceMemory` or `badRange`.
  public func share(_ pages: Range<Int>, by label: String) throws(PageShareError) -> PageShareHolder {
    try table.check(pages)
    guard kind == .hostMemory else { throw Self.isNoHostMemory(pages) }
    let holder = PageShareHolder(label, pages, of: ObjectIdentifier(self))
    // Before the counts: who finds a page shared always finds by whom.
    list.push(holder)
    do throws(PageShareError) {
      try table.share(pages)
    } catch {
      _ = holder.beginEnd()
      holder.endDone()
      list.noteEnd()
      throw naming(error)
    }
    return holder
  }

  /// Ends a share; the last one moves a page from shared back to owned.
  /// - Throws: `PageShareError`: `notShared` where it was ended already; nothing changes then.
  public func unshare(_ holder: PageShareHolder) throws(PageShareError) {
    precondition(holder.ledger == ObjectIdentifier(self), "a share is ended where it was made")
    guard holder.beginEnd() else {
      throw PageShareError(.notShared, pages: holder.pages, page: holder.pages.lowerBound)
    }
    try table.unshare(holder.pages)
    holder.endDone()
    list.noteEnd()
  }

  /// The pages that bytes of the memory lie in.
  @inline(__always)
  func pages(of bytes: Range<Int>) -> Range<Int> {
    bytes.lowerBound &>> pageShift..<(bytes.upperBound &+ (pageByteCount &- 1)) &>> pageShift
  }

  /// Adds one share to each page of some bytes: an exposure's, which is in the table of its address space.
  /// - Throws: `PageShareError`: as ``share(_:by:)``.
  @inline(__always)
  func shareExposed(
    _ bytes: Range<Int>, in exposures: ExposureTable, of space: any AddressSpace
  ) throws(PageShareError) {
    let pages = pages(of: bytes)
    guard kind == .hostMemory else { throw Self.isNoHostMemory(pages) }
    // Before the counts: who finds a page shared always finds by whom.
    spaces.note(exposures, of: space)
    if !table.add(pages) { try shareOrExplain(pages) }
  }

  @inline(never)
  private func shareOrExplain(_ pages: Range<Int>) throws(PageShareError) {
    do throws(PageShareError) {
      try table.share(pages)
    } catch {
      throw naming(error)
    }
  }

  /// Ends the share of an exposure.
  @inline(__always)
  func unshareExposed(_ bytes: Range<Int>) {
    guard table.subtract(pages(of: bytes)) else {
      preconditionFailure("an exposure's share was ended by somebody else")
    }
  }

  /// Keeps the share of an exposure whose pages could not be unmapped until its address space is gone.
  func keepExposed(_ bytes: Range<Int>, by label: String, until space: AnyObject) {
    let holder = PageShareHolder(label, pages(of: bytes), of: ObjectIdentifier(self))
    keep(holder, until: space)
    list.push(holder)
  }

  private static func isNoHostMemory(_ pages: Range<Int>) -> PageShareError {
    PageShareError(.deviceMemory, pages: pages, page: pages.lowerBound)
  }

  /// Keeps a share whose end failed: its pages stay shared until `keeper`, which the devices' access depends
  /// on, is gone.
  public func keep(_ holder: PageShareHolder, until keeper: AnyObject) { holder.keep(until: keeper) }

  /// Gives pages away for good: they are going to be freed, unmapped, truncated or handed to another owner.
  /// - Throws: `PageShareError`: `shared`, naming the address spaces that hold the first such page;
  ///   `donated` already; `badRange`. Nothing changes then.
  public func donate(_ pages: Range<Int>) throws(PageShareError) {
    while true {
      do throws(PageShareError) {
        return try table.donate(pages)
      } catch {
        let named = naming(error)
        // Its holder left between the two looks, so that the next try gets further.
        if error.code == .shared && table.word(ofPage: error.page) == 0 { continue }
        throw named
      }
    }
  }

  /// Checks that pages could be given away.
  /// - Parameter exempt: A share of all these pages that does not count, since its holder is who asks.
  /// - Throws: `PageShareError`: as ``donate(_:)``.
  public func checkUnshared(_ pages: Range<Int>, besides exempt: PageShareHolder? = nil)
    throws(PageShareError)
  {
    precondition(exempt?.pages == pages || exempt == nil, "the exempt share is of exactly these pages")
    try checkShares(of: pages, exempt == nil ? 0 : 1) { page in holders(ofPage: page, except: exempt) }
  }

  /// Checks that nobody but one exposure, of the whole memory, holds a share.
  /// - Parameters:
  ///   - own: Its slot; nil where the asker's exposure has ended.
  ///   - space: Of the slot.
  /// - Throws: `PageShareError`: as ``donate(_:)``.
  @inline(__always)
  func checkUnshared(besides own: UInt32?, of space: ExposureTable) throws(PageShareError) {
    if table.firstPage(in: 0..<pageCount, whoseWordIsNot: own == nil ? 0 : 1) == nil { return }
    try checkShares(of: 0..<pageCount, own == nil ? 0 : 1) { page in
      holders(ofPage: page, besides: own, of: space)
    }
  }

  @inline(never)
  private func checkShares(
    of pages: Range<Int>, _ own: UInt32, _ others: (Int) -> [String]
  ) throws(PageShareError) {
    try table.check(pages)
    while let refusal = table.firstPage(in: pages, whoseWordIsNot: own) {
      let isDonated = refusal.word == PageShareTable.donated
      let names = isDonated ? [] : others(refusal.page)
      if table.word(ofPage: refusal.page) == own { continue }
      throw PageShareError(isDonated ? .donated : .shared, pages: pages, page: refusal.page, holders: names)
    }
  }

  /// Who holds which pages: the ranges that are shared, each with the labels of all its holders, ascending.
  public var listing: [PageShareListing] {
    let all = holders()
    let bounds = Set(all.flatMap { [$0.pages.lowerBound, $0.pages.upperBound] }).sorted()
    return zip(bounds, bounds.dropFirst()).compactMap { start, end in
      let labels = all.filter { $0.pages.contains(start) }.map(\.label).sorted()
      return labels.isEmpty
        ? nil : PageShareListing(pages: start..<end, pageByteCount: pageByteCount, holders: labels)
    }
  }

  private func holders(
    except exempt: PageShareHolder? = nil, besides own: UInt32? = nil, of space: ExposureTable? = nil
  ) -> [NamedHolder] {
    var found = spaces.holders(of: self, besides: own, in: space)
    list.forEach { holder in
      settle(holder)
      if !holder.isOver && holder !== exempt {
        found.append(NamedHolder(label: holder.label, pages: holder.pages))
      }
    }
    return found
  }

  private func holders(
    ofPage page: Int, except exempt: PageShareHolder? = nil, besides own: UInt32? = nil,
    of space: ExposureTable? = nil
  ) -> [String] {
    holders(except: exempt, besides: own, of: space).filter { $0.pages.contains(page) }.map(\.label).sorted()
  }

  private func naming(_ error: PageShareError) -> PageShareError {
    let names = error.code == .donated ? [] : holders(ofPage: error.page)
    return PageShareError(error.code, pages: error.pages, page: error.page, holders: names)
  }

  /// Ends the shares that were kept for something that is gone.
  private func settle() { list.forEach(settle) }

  private func settle(_ holder: PageShareHolder) {
    guard holder.hasOutlivedItsKeeper, holder.beginEnd() else { return }
    do throws(PageShareError) {
      try table.unshare(holder.pages)
    } catch {
      preconditionFailure("a share that is not over is counted: \(error)")
    }
    holder.endDone()
  }
}

/// Pages with the same holders.
public struct PageShareListing: Hashable, Sendable {
  /// Which, counted from the memory's first.
  public let pages: Range<Int>
  /// The size of a page in bytes.
  public let pageByteCount: Int
  /// The labels of all that hold a share, sorted; one that holds two appears twice.
  public let holders: [String]
}

extension PageShareListing: CustomStringConvertible {
  /// One line: `bytes 0x0..<0x2000 (pages 0..<2): IOAS 2, container (type1v2)`.
  public var description: String {
    func hexadecimal(_ page: Int) -> String { "0x" + String(page * pageByteCount, radix: 16) }
    return "bytes \(hexadecimal(pages.lowerBound))..<\(hexadecimal(pages.upperBound)) (pages \(pages)): "
      + holders.joined(separator: ", ")
  }
}
