// SPDX-License-Identifier: Apache-2.0
import DMACore
import Testing

/// The allocator against a set that knows each granule.
@Suite struct IOVAAllocatorTests {
  /// splitmix64: the same numbers from the same seed, on every machine.
  private struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var value = state
      value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
      value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
      return value ^ value >> 31
    }
  }

  private func range(_ first: Int, _ count: Int) -> IOVARange {
    IOVARange(start: IOVA(UInt64(first) * 4096), last: IOVA(UInt64(first + count) * 4096 - 1))
  }

  @Test(arguments: [UInt64.random(in: 0 ... .max), 1])
  func agreesWithANaiveSet(seed: UInt64) throws {
    var numbers = Numbers(state: seed)
    // 256 granules with a hole, as the interrupt window makes one.
    let pages = 256
    var isUsable = [Bool](repeating: true, count: pages)
    for page in 100..<110 { isUsable[page] = false }
    var isFree = isUsable
    var allocator = IOVAAllocator(allowed: [range(110, 146), range(0, 60), range(60, 40)])
    #expect(allocator.allowed == [range(0, 100), range(110, 146)])
    var held: [Range<Int>] = []
    func fits(_ candidate: Range<Int>) -> Bool { candidate.allSatisfy { isFree[$0] } }

    for step in 0..<100_000 {
      let count = Int.random(in: 1...16, using: &numbers)
      switch UInt8.random(in: 0..<8, using: &numbers) {
      case 0, 1, 2:
        let alignment = 1 << Int.random(in: 0...4, using: &numbers)
        let length = (count + alignment - 1) / alignment * alignment
        let limit = Int.random(in: 0..<pages, using: &numbers)
        // Address 0 is never chosen.
        let expected = stride(from: alignment, through: limit + 1 - length, by: alignment).first {
          fits($0..<($0 + length))
        }
        let got = try? allocator.allocate(
          byteCount: UInt64(length) * 4096, alignment: UInt64(alignment) * 4096,
          upTo: IOVA(UInt64(limit + 1) * 4096 - 1))
        try #require(got == expected.map { range($0, length) }, "seed \(seed), step \(step)")
        if let expected {
          for page in expected..<(expected + length) { isFree[page] = false }
          held.append(expected..<(expected + length))
        }
      case 3:
        let start = Int.random(in: 0..<(pages - count), using: &numbers)
        let wanted = start..<(start + count)
        var failure: IOVAAllocator.Failure?
        do throws(IOVAAllocator.Failure) { try allocator.reserve(range(start, count)) } catch {
          failure = error
        }
        let expected: IOVAAllocator.Failure? =
          wanted.allSatisfy { isUsable[$0] } ? (fits(wanted) ? nil : .taken) : .notAllowed
        try #require(failure == expected, "seed \(seed), step \(step)")
        if failure == nil {
          for page in wanted { isFree[page] = false }
          held.append(wanted)
        }
      case 4 where held.isEmpty: continue
      default:
        guard !held.isEmpty else { continue }
        let pages = held.remove(at: Int.random(in: 0..<held.count, using: &numbers))
        try allocator.deallocate(range(pages.lowerBound, pages.count))
        for page in pages { isFree[page] = true }
        #expect(throws: IOVAAllocator.Failure.notAllocated) {
          try allocator.deallocate(range(pages.lowerBound, pages.count))
        }
      }
    }
    // All given back: one piece again.
    for pages in held { try allocator.deallocate(range(pages.lowerBound, pages.count)) }
    try allocator.reserve(range(0, 100))
    try allocator.reserve(range(110, 146))
  }

  @Test func theWholeOf64BitsIsARange() throws {
    var allocator = IOVAAllocator(allowed: [IOVARange(start: IOVA(0), last: IOVA(.max))])
    let last = IOVARange(start: IOVA(.max - 4095), last: IOVA(.max))
    try allocator.reserve(last)
    let first = try allocator.allocate(byteCount: 4096, alignment: 4096, upTo: IOVA(.max))
    #expect(first.start == IOVA(4096))
    try allocator.deallocate(last)
    try allocator.deallocate(first)
    try allocator.reserve(IOVARange(start: IOVA(0), last: IOVA(.max)))
    #expect(throws: IOVAAllocator.Failure.exhausted) {
      try allocator.allocate(byteCount: 1, alignment: 1, upTo: IOVA(.max))
    }
  }

  @Test func rangesKnowTheirEnds() {
    #expect(IOVARange(start: IOVA(.max), byteCount: 1)?.last == IOVA(.max))
    #expect(IOVARange(start: IOVA(.max), byteCount: 2) == nil)
    #expect(IOVARange(start: IOVA(5), byteCount: 0) == nil)
    let range = range(2, 3)
    #expect(range.byteCountMinusOne == 3 * 4096 - 1)
    #expect(
      range.overlaps(self.range(4, 1)) && !range.overlaps(self.range(5, 1))
        && !range.overlaps(self.range(1, 1)))
    #expect(range.contains(self.range(3, 2)) && !range.contains(self.range(3, 3)))
    #expect("\(range)" == "0x2000...0x4fff")
  }
}
