// SPDX-License-Identifier: Apache-2.0
import DMACore
import Dispatch
import SystemPackage
import Testing

@Suite struct PageSharesTests {
  @Test func aShareIsEndedOnce() throws {
    let shares = try PageShares(pageCount: 2)
    let holder = try shares.share(0..<2, by: "IOAS 1")
    try shares.unshare(holder)
    let error = #expect(throws: PageShareError.self) { try shares.unshare(holder) }
    #expect(error?.code == .notShared)
    #expect(shares.count(ofPage: 0) == 0 && shares.listing.isEmpty)
  }

  @Test func donationIsRefusedWithTheHoldersNames() throws {
    let shares = try PageShares(pageCount: 4)
    let one = try shares.share(1..<3, by: "IOAS 2")
    let two = try shares.share(2..<4, by: "container (type1v2)")
    let error = #expect(throws: PageShareError.self) { try shares.donate(2..<4) }
    #expect(error?.code == .shared && error?.page == 2)
    #expect(error?.holders == ["IOAS 2", "container (type1v2)"])
    #expect(error.map { "\($0)" }?.contains("held by IOAS 2, container (type1v2)") == true)
    try shares.unshare(one)
    #expect(throws: PageShareError.self) { try shares.checkUnshared(2..<4) }
    try shares.checkUnshared(2..<4, besides: two)
    try shares.unshare(two)
    try shares.donate(0..<4)
    let gone = #expect(throws: PageShareError.self) { _ = try shares.share(0..<1, by: "late") }
    #expect(gone?.code == .donated && gone?.holders == [])
  }

  @Test func aFullPageNamesWhoFillsIt() throws {
    let shares = try PageShares(pageCount: 3, maximum: 2)
    let holders = try (1...2).map { try shares.share(1..<2, by: "space \($0)") }
    let error = #expect(throws: PageShareError.self) { _ = try shares.share(0..<3, by: "space 3") }
    #expect(error?.code == .saturated && error?.page == 1 && error?.holders == ["space 1", "space 2"])
    #expect([0, 1, 2].map { shares.count(ofPage: $0) } == [0, 2, 0])
    for holder in holders { try shares.unshare(holder) }
    #expect(shares.listing.isEmpty)
  }

  @Test func theListingSplitsRangesByHolders() throws {
    let shares = try PageShares(pageCount: 8, pageByteCount: 4096)
    let holders = try [(0..<4, "A"), (2..<6, "B"), (2..<4, "B")].map { try shares.share($0.0, by: $0.1) }
    let expected = [(0..<2, ["A"]), (2..<4, ["A", "B", "B"]), (4..<6, ["B"])]
    #expect(shares.listing.map(\.pages) == expected.map(\.0))
    #expect(shares.listing.map(\.holders) == expected.map(\.1))
    #expect(shares.listing.first.map { "\($0)" } == "bytes 0x0..<0x2000 (pages 0..<2): A")
    for holder in holders { try shares.unshare(holder) }
    #expect(shares.listing.isEmpty)
  }

  @Test func deviceMemoryIsNotSharedAsMemoryOfTheHost() throws {
    let shares = try PageShares(pageCount: 4, kind: .deviceMemory)
    let error = #expect(throws: PageShareError.self) { _ = try shares.share(0..<4, by: "IOAS 1") }
    #expect(error?.code == .deviceMemory && error?.errno == .badAddress)
    #expect(shares.count(ofPage: 0) == 0 && shares.listing.isEmpty)
  }

  @Test func aKeptShareLastsUntilItsKeeperIsGone() throws {
    final class Keeper {}
    var keeper: Keeper? = Keeper()
    let shares = try PageShares(pageCount: 2)
    let holder = try shares.share(0..<2, by: "IOAS 1")
    shares.keep(holder, until: try #require(keeper))
    #expect(shares.count(ofPage: 0) == 1 && shares.listing.count == 1)
    #expect(throws: PageShareError.self) { try shares.donate(0..<2) }
    keeper = nil
    #expect(shares.count(ofPage: 0) == 0 && shares.listing.isEmpty)
    try shares.donate(0..<2)
  }

  /// A sharer against one who gives away and reads names: a refusal always has a reason to show for it.
  @Test func namesAreRightUnderThreads() throws {
    let shares = try PageShares(pageCount: 16)
    let base = try shares.share(0..<1, by: "base")
    DispatchQueue.concurrentPerform(iterations: 2) { thread in
      for _ in 0..<5000 {
        if thread == 0 {
          guard let holder = try? shares.share(0..<16, by: "other"), (try? shares.unshare(holder)) != nil
          else {
            Issue.record("a share failed")
            return
          }
          continue
        }
        do throws(PageShareError) {
          try shares.donate(0..<1)
          Issue.record("page 0 is always shared")
        } catch {
          if error.code != .shared || !error.holders.contains("base") { Issue.record("\(error)") }
        }
        for entry in shares.listing where !Set(entry.holders).isSubset(of: ["base", "other"]) {
          Issue.record("\(entry)")
        }
      }
    }
    try shares.unshare(base)
    #expect(shares.listing.isEmpty)
    #expect((0..<16).allSatisfy { shares.count(ofPage: $0) == 0 })
  }

  /// Records of ended shares do not pile up: the list is cleared on the way.
  @Test func aHolderIsForgottenSoonAfterItsEnd() throws {
    let shares = try PageShares(pageCount: 1)
    weak var first: PageShareHolder?
    for round in 0..<200 {
      let holder = try shares.share(0..<1, by: "\(round)")
      if round == 0 { first = holder }
      try shares.unshare(holder)
    }
    #expect(first == nil)
  }
}
