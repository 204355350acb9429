// SPDX-License-Identifier: Apache-2.0
internal import CShares
internal import DMACore
internal import LoopMeasurement

/// What sharing pages costs, beside the same in C.
///
/// Without an argument, the lines that ``Measurement`` prints. `SharesBenchmark times` prints a table of times
/// and of memory, and fails where a ratio of it is over its limit.
@main
enum Main {
  static func main() throws {
    guard CommandLine.arguments.dropFirst().first == "times" else { return try instructions() }
    try ShareTimes(pageCount: 1_000_000).print()
  }

  private static func instructions() throws {
    let pageCount = 1024
    let table = try PageShareTable(pageCount: pageCount)
    let shares = try PageShares(pageCount: pageCount)
    let twin = unsafe cshares_new(pageCount, PageShareTable.largestMaximum)
    defer { unsafe cshares_free(twin) }
    // Known at run time only.
    let (one, many) = (CommandLine.arguments.count, CommandLine.arguments.count * 512)
    // One page is dwarfed by the calls: these are not inlined, and may throw.
    for (unit, name, limit) in [(many, "512 pages a call", 1.05), (one, "1 page a call", nil)] {
      Measurement.compare("PageShareTable, share and unshare, \(name)", .init(checked: limit)) {
        shareTable(table, unit, $0)
      } twin: {
        unsafe cshares_loop(twin, Int64(pageCount), Int64(unit), $0)
      } unchecked: {
        unsafe cshares_loop_unchecked(twin, Int64(pageCount), Int64(unit), $0)
      }
    }
    // The holder is one record for each call: hidden behind 512 pages, not behind one.
    Measurement.compare("PageShares, share and unshare, 512 pages a call", .init(checked: 1.25)) {
      shareLedger(shares, many, $0)
    } twin: {
      unsafe cshares_loop(twin, Int64(pageCount), Int64(many), $0)
    } unchecked: {
      unsafe cshares_loop_unchecked(twin, Int64(pageCount), Int64(many), $0)
    }
    Measurement.compare("PageShares, share and unshare, 1 page a call", .init()) {
      shareLedger(shares, one, $0)
    } twin: {
      unsafe cshares_loop(twin, Int64(pageCount), Int64(one), $0)
    } unchecked: {
      unsafe cshares_loop_unchecked(twin, Int64(pageCount), Int64(one), $0)
    }
  }
}
