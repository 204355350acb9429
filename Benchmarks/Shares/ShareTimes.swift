// SPDX-License-Identifier: Apache-2.0
internal import CShares
internal import DMACore
internal import Dispatch
internal import Glibc
internal import Synchronization

/// A million pages shared and unshared: times of a thread, of two, and memory.
///
/// Times are of a thread on a processor: what other processes do meanwhile does not count. They are shown; what
/// two threads gain over one, and the memory, have limits.
@safe
final class ShareTimes: @unchecked Sendable {
  /// What two threads on pages of their own must gain over one.
  private static let leastGain = 1.8
  /// What a ledger may hold for each page; and beside the pages.
  private static let (mostByteCount, constantByteCount) = (8, 1 << 16)
  private static let rounds = 15

  private let pageCount: Int
  private let shares: PageShares
  private let table: PageShareTable
  private let twin: OpaquePointer
  private let residentByteCount: Int

  init(pageCount: Int) throws(PageShareError) {
    self.pageCount = pageCount
    let before = Self.residentByteCount()
    shares = try PageShares(pageCount: pageCount)
    // Every word is written, and a record stays.
    let holder = try shares.share(0..<pageCount, by: "IOAS 1")
    residentByteCount = Self.residentByteCount() - before
    try shares.unshare(holder)
    table = try PageShareTable(pageCount: pageCount)
    guard let twin = unsafe cshares_new(pageCount, PageShareTable.largestMaximum) else {
      fatalError("no memory for the twin")
    }
    unsafe self.twin = unsafe twin
  }

  deinit { unsafe cshares_free(twin) }

  private func ledger(_ pages: Range<Int>) {
    guard let holder = try? shares.share(pages, by: "IOAS 1"), (try? shares.unshare(holder)) != nil else {
      fatalError("the ledger refuses")
    }
  }
  private func table(_ pages: Range<Int>) {
    guard (try? table.share(pages)) != nil, (try? table.unshare(pages)) != nil else {
      fatalError("the table refuses")
    }
  }
  private func twin(_ pages: Range<Int>) {
    let (start, end) = (Int64(pages.lowerBound), Int64(pages.upperBound))
    guard unsafe cshares_share(twin, start, end) < 0, unsafe cshares_unshare(twin, start, end) < 0 else {
      fatalError("the twin refuses")
    }
  }

  /// Prints the tables; ends the process with 1 where a limit is passed.
  func print() {
    Swift.print(
      "| \(pageCount) pages, share + unshare | pages a call | ns a page | 2 threads | gain | limit |")
    Swift.print("|---|---:|---:|---:|---:|---|")
    var isExceeded = false
    for unit in [pageCount, 512, 1] {
      row("C", unit, limit: nil, &isExceeded) { self.twin($0) }
      row("PageShareTable", unit, limit: nil, &isExceeded) { self.table($0) }
      // What is shared at once, a page table walk would dwarf; smaller calls allocate their records.
      row("PageShares", unit, limit: unit == 1 ? nil : Self.leastGain, &isExceeded) { self.ledger($0) }
    }
    let most = Self.mostByteCount * pageCount + Self.constantByteCount
    let isTooMuch = residentByteCount > most
    Swift.print("\n| Memory of a ledger of \(pageCount) pages, all shared | bytes a page | limit |")
    Swift.print("|---|---:|---|")
    let perPage = Self.text(Double(residentByteCount) / Double(pageCount))
    let limit = "<= \(Self.mostByteCount), and \(Self.constantByteCount) bytes"
    Swift.print("| PageShares | \(perPage) | \(Self.verdict(isTooMuch, limit)) |")
    if isExceeded || isTooMuch { exit(1) }
  }

  private func row(
    _ name: String, _ unit: Int, limit: Double?, _ isExceeded: inout Bool,
    _ body: @escaping @Sendable (Range<Int>) -> Void
  ) {
    let (half, count) = (pageCount / 2, pageCount)
    let one = Self.best { Self.walk(0..<count, by: unit, body) }
    let two = Self.best {
      let longest = Mutex(0.0)
      DispatchQueue.concurrentPerform(iterations: 2) { thread in
        let time = Self.walk(thread == 0 ? 0..<half : half..<count, by: unit, body)
        longest.withLock { $0 = max($0, time) }
      }
      return longest.withLock { $0 }
    }
    let gain = one / two
    let fails = limit.map { gain < $0 } ?? false
    if fails { isExceeded = true }
    let verdict = limit.map { Self.verdict(fails, ">= \($0)") } ?? "-"
    let times = [one, two].map { Self.text($0 / Double(count)) }
    Swift.print("| \(name) | \(unit) | \(times[0]) | \(times[1]) | \(Self.text(gain)) | \(verdict) |")
  }

  private static func verdict(_ isExceeded: Bool, _ limit: String) -> String {
    (isExceeded ? "EXCEEDED, " : "ok, ") + limit
  }

  /// The shortest of many runs; a run tells its own time.
  private static func best(_ run: () -> Double) -> Double {
    (0..<rounds).reduce(Double.infinity) { shortest, _ in min(shortest, run()) }
  }

  /// Runs a body for each part of a range, and tells how many nanoseconds it took.
  private static func walk(_ range: Range<Int>, by unit: Int, _ body: (Range<Int>) -> Void) -> Double {
    let start = now()
    var page = range.lowerBound
    while page < range.upperBound {
      body(page..<min(page + unit, range.upperBound))
      page += unit
    }
    return now() - start
  }

  private static func now() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
  }

  /// With two decimals.
  private static func text(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
  }

  private static func residentByteCount() -> Int {
    guard let file = unsafe fopen("/proc/self/statm", "r") else { fatalError("no /proc") }
    defer { unsafe fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard unsafe fgets(&line, 128, file) != nil else { fatalError("an empty statm") }
    let fields = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self).split(
      separator: " ")
    guard let pages = Int(fields[1]) else { fatalError("statm has numbers") }
    return pages * Int(sysconf(CInt(_SC_PAGESIZE)))
  }
}
