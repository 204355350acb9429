// SPDX-License-Identifier: Apache-2.0
internal import DMACore

// Each loop is its own function of the binary: the profiler finds it by its name. `count` is in pages.

/// Shares and unshares the table's pages, `unit` at a time.
@inline(never)
func shareTable(_ table: borrowing PageShareTable, _ unit: Int, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var done = 0
  do throws(PageShareError) {
    while done < Int(count) {
      let page = done & (table.pageCount &- 1)
      try table.share(page..<page + unit)
      sum &+= UInt64(table.count(ofPage: page))
      try table.unshare(page..<page + unit)
      done &+= unit
    }
  } catch {
    return 0
  }
  return sum
}

/// The same with the ledger, which notes who it is.
@inline(never)
func shareLedger(_ shares: PageShares, _ unit: Int, _ count: UInt32) -> UInt64 {
  var sum: UInt64 = 0
  var done = 0
  do throws(PageShareError) {
    while done < Int(count) {
      let page = done & (shares.pageCount &- 1)
      let holder = try shares.share(page..<page + unit, by: "IOAS 1")
      sum &+= 1
      try shares.unshare(holder)
      done &+= unit
    }
  } catch {
    return 0
  }
  return sum
}
