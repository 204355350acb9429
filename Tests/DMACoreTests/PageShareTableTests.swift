// SPDX-License-Identifier: Apache-2.0
import DMACore
import Dispatch
import Testing

@Suite struct PageShareTableTests {
  private func snapshot(_ table: borrowing PageShareTable) -> [UInt32] {
    var counts: [UInt32] = []
    for page in 0..<table.pageCount { counts.append(table.count(ofPage: page)) }
    return counts
  }

  @Test func theFirstShareAndTheLastUnshareMoveAPage() throws {
    let table = try PageShareTable(pageCount: 4)
    try table.share(1..<3)
    try table.share(2..<4)
    #expect(snapshot(table) == [0, 1, 2, 1])
    try table.unshare(2..<4)
    #expect(snapshot(table) == [0, 1, 1, 0])
    try table.unshare(1..<3)
    #expect(snapshot(table) == [0, 0, 0, 0])
  }

  @Test func unsharingWhatIsNotSharedChangesNothing() throws {
    let table = try PageShareTable(pageCount: 5)
    try table.share(0..<2)
    try table.share(3..<5)
    let error = #expect(throws: PageShareError.self) { try table.unshare(0..<5) }
    #expect(error?.code == .notShared && error?.page == 2)
    #expect(snapshot(table) == [1, 1, 0, 1, 1])
    try table.unshare(0..<2)
    #expect(throws: PageShareError.self) { try table.unshare(0..<2) }
    #expect(snapshot(table) == [0, 0, 0, 1, 1])
  }

  @Test func aFullCountInTheMiddleRollsTheRangeBack() throws {
    let table = try PageShareTable(pageCount: 7, maximum: 3)
    for _ in 0..<3 { try table.share(3..<4) }
    try table.share(1..<2)
    let before = snapshot(table)
    let error = #expect(throws: PageShareError.self) { try table.share(0..<7) }
    #expect(error?.code == .saturated && error?.page == 3)
    #expect(snapshot(table) == before)
    try table.unshare(3..<4)
    try table.share(0..<7)
    #expect(snapshot(table) == [1, 2, 1, 3, 1, 1, 1])
  }

  @Test func aDonatedPageIsNeitherSharedNorDonatedAgain() throws {
    let table = try PageShareTable(pageCount: 4)
    try table.donate(2..<3)
    #expect(throws: PageShareError.self) { try table.share(0..<4) }
    #expect(throws: PageShareError.self) { try table.unshare(2..<3) }
    let error = #expect(throws: PageShareError.self) { try table.donate(1..<4) }
    #expect(error?.code == .donated && error?.page == 2)
    #expect(snapshot(table) == [0, 0, 0, 0])
    try table.share(0..<2)  // nothing of the refused donation is left
  }

  @Test func aSharedPageIsNotDonated() throws {
    let table = try PageShareTable(pageCount: 4)
    try table.share(2..<3)
    let error = #expect(throws: PageShareError.self) { try table.donate(0..<4) }
    #expect(error?.code == .shared && error?.page == 2)
    try table.share(0..<4)
    #expect(snapshot(table) == [1, 1, 2, 1])
  }

  @Test(arguments: [0..<0, 3..<3, -1..<2, 3..<5, 4..<5, 0..<Int.max])
  func rangesOutsideAreRefused(_ range: Range<Int>) throws {
    let table = try PageShareTable(pageCount: 4)
    #expect(throws: PageShareError.self) { try table.share(range) }
    #expect(throws: PageShareError.self) { try table.unshare(range) }
    #expect(throws: PageShareError.self) { try table.donate(range) }
  }

  @Test(arguments: [0, -1, Int.max, Int.max / 4]) func tablesThatCannotBeAreRefused(_ pageCount: Int) {
    #expect(throws: PageShareError.self) { _ = try PageShareTable(pageCount: pageCount) }
  }

  /// Two threads share and unshare overlapping ranges, with refusals on the way; counts stay exact.
  @Test func countsStayExactUnderTwoThreads() throws {
    final class Shared: Sendable {
      let table: PageShareTable
      init() throws { table = try PageShareTable(pageCount: 64, maximum: 3) }
    }
    let shared = try Shared()
    try shared.table.share(40..<41)
    DispatchQueue.concurrentPerform(iterations: 2) { thread in
      for round in 0..<30_000 {
        let start = (round &* 7 &+ thread &* 11) % 40
        let range = start..<start + 24
        // A page takes three, and each thread holds one range, so that only page 40 is ever near its limit.
        guard (try? shared.table.share(range)) != nil else { Issue.record("a share was refused"); return }
        if round % 5 == 0 { _ = try? shared.table.donate(0..<64) }
        guard (try? shared.table.unshare(range)) != nil else { Issue.record("a count was lost"); return }
      }
    }
    var expected = [UInt32](repeating: 0, count: 64)
    expected[40] = 1
    #expect(snapshot(shared.table) == expected)
  }

  /// As above at the limit: each thread's ranges refuse often, and roll back over the other's pages.
  @Test func rollbacksStayExactUnderTwoThreads() throws {
    final class Shared: Sendable {
      let table: PageShareTable
      init() throws { table = try PageShareTable(pageCount: 32, maximum: 1) }
    }
    let shared = try Shared()
    DispatchQueue.concurrentPerform(iterations: 2) { thread in
      for round in 0..<60_000 {
        let start = (round &* 5 &+ thread &* 3) % 20
        let range = start..<start + 12
        if (try? shared.table.share(range)) != nil {
          guard (try? shared.table.unshare(range)) != nil else { Issue.record("a count was lost"); return }
        }
      }
    }
    #expect(snapshot(shared.table) == [UInt32](repeating: 0, count: 32))
  }
}
