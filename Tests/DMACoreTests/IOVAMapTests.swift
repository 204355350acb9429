// SPDX-License-Identifier: Apache-2.0
import DMACore
import Glibc
import Synchronization
import TestSupport
import Testing

@Suite struct IOVAMapTests {
  private typealias Failure = IOVAMap.Failure

  private func range(_ start: UInt64, _ pages: UInt64) -> IOVARange {
    IOVARange(start: IOVA(start), last: IOVA(start &+ (pages * 4096 - 1)))
  }

  private func failure(_ body: () throws(Failure) -> Void) -> Failure? {
    do throws(Failure) {
      try body()
      return nil
    } catch {
      return error
    }
  }

  /// At both ends of 64 bits, and around each place where another table begins.
  @Test(
    arguments: [0, 4096, 1 << 28, 1 << 32, 1 << 48, 1 << 48 - 4096, 1 << 57, 1 << 63, .max - 8191] as [UInt64]
  )
  func edgesAndNeighbours(start: UInt64) throws {
    let map = IOVAMap()
    let range = range(start, 2)
    try map.insert(range, slot: 7)
    for inside in [start, start + 1, start + 4095, start + 4096, start + 8191] {
      #expect(map.slot(at: IOVA(inside)) == 7)
    }
    for outside in [start &- 1, start &- 4096, start &+ 8192, start ^ 1 << 47, start ^ 1 << 62] {
      #expect(map.slot(at: IOVA(outside)) == nil)
    }
    if start >= 4096 { try map.insert(self.range(start - 4096, 1), slot: 0) }
    if range.last.rawValue < .max { try map.insert(self.range(start + 8192, 1), slot: .max - 1) }
    #expect(map.slot(at: IOVA(start)) == 7 && map.slot(at: IOVA(start + 8191)) == 7)
    #expect(map.slot(at: IOVA(start &- 1)) == (start == 0 ? nil : 0))
    #expect(map.slot(at: IOVA(start &+ 8192)) == (range.last.rawValue == .max ? nil : UInt32.max - 1))
    #expect(try map.remove(range) == 7)
    #expect(map.slot(at: IOVA(start)) == nil && map.slot(at: IOVA(start + 8191)) == nil)
    #expect(map.slot(at: IOVA(start &- 1)) == (start == 0 ? nil : 0))
  }

  @Test func refusals() throws {
    let map = IOVAMap()
    try map.insert(range(0x4000, 4), slot: 1)
    for taken in [range(0x4000, 4), range(0x3000, 2), range(0x7000, 1), range(0x1000, 32), range(0, 1 << 20)]
    {
      #expect(failure { () throws(Failure) in try map.insert(taken, slot: 2) } == .overlaps)
    }
    for other in [range(0x4000, 3), range(0x5000, 3), range(0x5000, 1), range(0x4000, 5), range(0x9000, 1)] {
      #expect(failure { () throws(Failure) in try map.remove(other) } == .notMapped)
    }
    let crooked = IOVARange(start: IOVA(0x9000), last: IOVA(0x9ffe))
    #expect(failure { () throws(Failure) in try map.insert(crooked, slot: 2) } == .misaligned)
    #expect(failure { () throws(Failure) in try map.remove(crooked) } == .misaligned)
    let long = IOVARange(start: IOVA(1 << 45), last: IOVA(1 << 45 + 1 << 44 + 4095))
    #expect(failure { () throws(Failure) in try map.insert(long, slot: 2) } == .tooLong)
    try map.remove(range(0x4000, 4))
    #expect(failure { () throws(Failure) in try map.remove(range(0x4000, 4)) } == .notMapped)
  }

  /// Parts of 256 MiB that one mapping covers, with and without a leaf already there.
  @Test(arguments: [0, 1 << 48 - 1 << 30, 1 << 62] as [UInt64], [false, true])
  func wholeLeaves(base: UInt64, hasLeaf: Bool) throws {
    let map = IOVAMap()
    let leaf: UInt64 = 1 << 28
    if hasLeaf {
      try map.insert(range(base + leaf + 8192, 1), slot: 3)
      try map.remove(range(base + leaf + 8192, 1))
    }
    let large = range(base + leaf - 4096, 3 * 65536 + 2)
    try map.insert(large, slot: 9)
    for place in [leaf - 4096, leaf, 2 * leaf, 3 * leaf - 1, 4 * leaf - 1, 4 * leaf + 4095] {
      #expect(map.slot(at: IOVA(base + place)) == 9)
    }
    #expect(
      map.slot(at: IOVA(base + leaf - 4097)) == nil && map.slot(at: IOVA(base + 4 * leaf + 4096)) == nil)
    #expect(failure { () throws(Failure) in try map.insert(range(base + 2 * leaf, 1), slot: 1) } == .overlaps)
    #expect(failure { () throws(Failure) in try map.remove(range(base + 2 * leaf, 65536)) } == .notMapped)
    #expect(try map.remove(large) == 9)
    for place in [leaf - 4096, leaf, 2 * leaf, 3 * leaf - 1, 4 * leaf - 1, 4 * leaf + 4095] {
      #expect(map.slot(at: IOVA(base + place)) == nil)
    }
    try map.insert(range(base + 2 * leaf, 1), slot: 1)
    #expect(map.slot(at: IOVA(base + 2 * leaf)) == 1 && map.slot(at: IOVA(base + 2 * leaf + 4096)) == nil)
  }

  /// 2^48 and up is reached from below by one mapping.
  @Test func oneMappingOverTwoRoots() throws {
    let map = IOVAMap()
    let wide = range(1 << 48 - 1 << 29, 1 << 18)
    try map.insert(wide, slot: 5)
    #expect(map.slot(at: IOVA(1 << 48 - 1)) == 5 && map.slot(at: IOVA(1 << 48)) == 5)
    #expect(map.slot(at: wide.last) == 5 && map.slot(at: IOVA(wide.last.rawValue + 1)) == nil)
    try map.remove(wide)
    #expect(map.slot(at: IOVA(1 << 48 - 1)) == nil && map.slot(at: IOVA(1 << 48)) == nil)
  }

  @Test(arguments: SeededNumbers.seeds("IOVA_SEED"))
  func agreesWithADictionary(seed: UInt64) throws {
    var numbers = SeededNumbers(seed)
    let map = IOVAMap()
    var model: [UInt64: UInt32] = [:]
    var held: [(range: IOVARange, slot: UInt32)] = []
    for step in 0..<20_000 {
      // Around the border of two leaves and of two roots.
      let base: UInt64 = [1 << 28, 1 << 48, 1 << 60][Int.random(in: 0..<3, using: &numbers)]
      let first = base / 4096 - 64 + UInt64.random(in: 0..<112, using: &numbers)
      if Bool.random(using: &numbers) || held.isEmpty {
        let pages = UInt64.random(in: 1...16, using: &numbers)
        let isFree = (first..<(first + pages)).allSatisfy { model[$0] == nil }
        let range = range(first * 4096, pages)
        let failure = failure { () throws(Failure) in try map.insert(range, slot: UInt32(step)) }
        try #require(failure == (isFree ? nil : .overlaps), "seed \(seed), step \(step)")
        guard isFree else { continue }
        for page in first..<(first + pages) { model[page] = UInt32(step) }
        held.append((range, UInt32(step)))
      } else {
        let entry = held.remove(at: Int.random(in: 0..<held.count, using: &numbers))
        try #require(try map.remove(entry.range) == entry.slot, "seed \(seed), step \(step)")
        for page in (entry.range.start.rawValue / 4096)...(entry.range.last.rawValue / 4096) {
          model[page] = nil
        }
      }
      try #require(map.slot(at: IOVA(first * 4096 + 5)) == model[first], "seed \(seed), step \(step)")
    }
  }

  private final class Shared: Sendable {
    let map = IOVAMap()
    let isOver = Atomic<Bool>(false)
    let readerCount = Atomic<Int>(0)
    let foundCount = Atomic<Int>(0)
    let wrongCount = Atomic<Int>(0)
    /// By slot: what the writer wrote before it inserted the slot.
    let payloads = (0..<64).map { _ in Payload() }

    /// The place of a slot in one of 16 leaves: some below 2^48, some above.
    static func start(_ slot: Int, leaf: UInt64) -> UInt64 { leaf << 45 + UInt64(slot) * 8192 }

    func read() {
      readerCount.add(1, ordering: .releasing)
      var (leaf, found, wrong) = (UInt64(0), 0, 0)
      while !isOver.load(ordering: .relaxed) {
        for slot in 0..<64 {
          let start = Self.start(slot, leaf: leaf)
          if map.slot(at: IOVA(start + 4096)) != nil { wrong += 1 }
          guard let seen = map.slot(at: IOVA(start)) else { continue }
          found += 1
          if seen != slot || payloads[slot].value.load(ordering: .relaxed) == 0 { wrong += 1 }
        }
        leaf = (leaf + 1) & 15
      }
      foundCount.add(found, ordering: .releasing)
      wrongCount.add(wrong, ordering: .releasing)
    }
  }
  private final class Payload: Sendable {
    let value = Atomic<UInt64>(0)
  }

  /// Two threads look addresses up while a third inserts and removes: a slot that is found is one that was
  /// inserted there, and what was written before is seen.
  @Test(.timeLimit(.minutes(15)))
  func lookUpsGoOnWhileAnotherInserts() throws {
    #if DEBUG
      let rounds = 20_000
    #else
      let rounds = 400_000
    #endif
    let shared = Shared()
    let readers = (0..<2).map { _ in IOVAThread { shared.read() } }
    while shared.readerCount.load(ordering: .acquiring) < 2 { sched_yield() }
    var failure: Failure?
    do throws(Failure) {
      for round in 0..<rounds {
        let slot = round & 63
        shared.payloads[slot].value.store(UInt64(round + 1), ordering: .relaxed)
        let range = range(Shared.start(slot, leaf: UInt64(round >> 6 & 15)), 1)
        if shared.map.slot(at: range.start) != nil { try shared.map.remove(range) }
        try shared.map.insert(range, slot: UInt32(slot))
      }
    } catch {
      failure = error
    }
    shared.isOver.store(true, ordering: .relaxed)
    for reader in readers { reader.join() }
    #expect(failure == nil)
    #expect(shared.wrongCount.load(ordering: .acquiring) == 0)
    #expect(shared.foundCount.load(ordering: .acquiring) > 0)
  }
}
