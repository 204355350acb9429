// SPDX-License-Identifier: Apache-2.0
// Share and unshare of a million pages, beside the same in C: `Shares [pages]`.
import CShares
import DMACore
import Dispatch
import Glibc
import Synchronization

let pageCount = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 1_000_000
let rounds = 15

/// Time of this thread on a processor, in nanoseconds: what other processes do meanwhile does not count.
func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
}

/// The shortest of many runs; a run tells its own time.
func best(_ run: () -> Double) -> Double {
  var shortest = Double.infinity
  for _ in 0..<rounds { shortest = min(shortest, run()) }
  return shortest
}

/// Runs a body for each part of a range, and tells how long it took.
func walk(_ range: Range<Int>, by unit: Int, _ body: (Range<Int>) -> Void) -> Double {
  let start = now()
  var page = range.lowerBound
  while page < range.upperBound {
    body(page..<min(page + unit, range.upperBound))
    page += unit
  }
  return now() - start
}

func require(_ isTrue: Bool, _ what: StaticString) {
  guard !isTrue else { return }
  print("FAILED: \(what)")
  exit(1)
}

/// Nanoseconds with two decimals.
func text(_ nanoseconds: Double) -> String {
  let hundredths = Int((nanoseconds * 100).rounded())
  let rest = hundredths % 100
  return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
}

/// The resident memory of this process in bytes.
func residentByteCount() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 128)
  guard fgets(&line, 128, file) != nil else { return 0 }
  let fields = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self).split(separator: " ")
  return (Int(fields[1]) ?? 0) * 4096
}

final class Tables: @unchecked Sendable {
  let shares: PageShares
  let table: PageShareTable
  let twin: OpaquePointer
  init() throws(PageShareError) {
    shares = try PageShares(pageCount: pageCount)
    table = try PageShareTable(pageCount: pageCount)
    guard let twin = cshares_new(pageCount, PageShareTable.largestMaximum) else { exit(1) }
    self.twin = twin
  }

  func ledger(_ pages: Range<Int>) {
    guard let holder = try? shares.share(pages, by: "IOAS 1") else { return require(false, "share") }
    require((try? shares.unshare(holder)) != nil, "unshare")
  }
  func swift(_ pages: Range<Int>) {
    require((try? table.share(pages)) != nil && (try? table.unshare(pages)) != nil, "table")
  }
  func c(_ pages: Range<Int>) {
    let (start, end) = (Int64(pages.lowerBound), Int64(pages.upperBound))
    require(cshares_share(twin, start, end) < 0 && cshares_unshare(twin, start, end) < 0, "twin")
  }
}

let before = residentByteCount()
let tables = try Tables()
let all = 0..<pageCount
tables.swift(all)
let growth = residentByteCount() - before
tables.c(all)

func row(_ name: String, _ body: @escaping @Sendable (Range<Int>) -> Void, _ unit: Int) {
  let one = best { walk(0..<pageCount, by: unit, body) }
  let half = pageCount / 2
  let halves = best {
    let times = Mutex<[Double]>([])
    DispatchQueue.concurrentPerform(iterations: 2) { thread in
      let time = walk(thread == 0 ? 0..<half : half..<pageCount, by: unit, body)
      times.withLock { $0.append(time) }
    }
    return times.withLock { $0.max() ?? 0 }
  }
  let perPage = one / Double(pageCount)
  print(
    "| \(name) | \(unit) | \(text(perPage)) | \(text(halves / Double(pageCount))) | \(text(one / halves)) |")
}

print("\(pageCount) pages, best of \(rounds); ns of processor time for share + unshare of a page")
print("| what | pages a call | 1 thread | 2 threads | speed-up |")
print("|---|---:|---:|---:|---:|")
for unit in [pageCount, 512, 1] {
  row("C", { tables.c($0) }, unit)
  row("PageShareTable", { tables.swift($0) }, unit)
  row("PageShares (with holders)", { tables.ledger($0) }, unit)
}
print("resident memory of one table: \(text(Double(growth) / Double(pageCount))) bytes a page")
