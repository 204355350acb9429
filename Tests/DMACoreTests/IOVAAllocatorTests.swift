// SPDX-License-Identifier: Apache-2.0
import DMACore
import TestSupport
import Testing

@Suite struct IOVAAllocatorTests {
  private typealias Failure = IOVAAllocator.Failure

  private func range(_ first: UInt64, _ count: UInt64) -> IOVARange {
    IOVARange(start: IOVA(first * 4096), last: IOVA((first + count) * 4096 - 1))
  }

  private func failure(_ body: () throws(Failure) -> Void) -> Failure? {
    IOVAAllocatorModelTests.failure(body)
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
    #expect(throws: Failure.exhausted) {
      try allocator.allocate(byteCount: 1, alignment: 1, upTo: IOVA(.max))
    }
    try allocator.deallocate(IOVARange(start: IOVA(0), last: IOVA(.max)))
    #expect(allocator.freeRanges == allocator.allowed)
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

  @Test func nothingAllowedIsNothingFree() {
    var allocator = IOVAAllocator(allowed: [])
    #expect(
      failure { () throws(Failure) in _ = try allocator.allocate(byteCount: 4096, alignment: 4096) }
        == .exhausted)
    #expect(failure { () throws(Failure) in try allocator.reserve(range(1, 1)) } == .notAllowed)
    #expect(failure { () throws(Failure) in try allocator.deallocate(range(1, 1)) } == .notAllocated)
  }

  @Test(arguments: [1, 13, 28, 32, 39, 48, 57, 64])
  func widthsAreKept(bits: Int) throws {
    let highest = IOVA.highest(addressBits: bits)
    #expect(highest.rawValue == (bits == 64 ? UInt64.max : (1 << UInt64(bits)) - 1))
    // Of the whole space: by the limit of one request, and by that of all.
    var limited = IOVAAllocator(allowed: [IOVARange(start: IOVA(0), last: IOVA(.max))])
    var narrow = IOVAAllocator(allowed: [IOVARange(start: IOVA(0), last: IOVA(.max))], addressBits: bits)
    #expect(narrow.allowed == [IOVARange(start: IOVA(0), last: highest)])
    let half = highest.rawValue / 2 + 1
    let upper = try narrow.allocate(byteCount: half, alignment: half)
    #expect(upper == IOVARange(start: IOVA(half), last: highest))
    #expect(try limited.allocate(byteCount: half, alignment: half, upTo: highest) == upper)
    // Address 0 is free but not given.
    for _ in 0..<2 {
      #expect(
        failure { () throws(Failure) in _ = try narrow.allocate(byteCount: half, alignment: half) }
          == .exhausted)
      #expect(
        failure { () throws(Failure) in
          _ = try limited.allocate(byteCount: half, alignment: half, upTo: highest)
        } == .exhausted)
    }
    try narrow.deallocate(upper)
    narrow.collect()
    #expect(narrow.freeRanges == narrow.allowed)
  }

  /// What lies on top of a magazine is not given to a device that does not reach it, or to whom it is crooked.
  @Test func magazinesKeepLimitAndAlignment() throws {
    var allocator = IOVAAllocator(allowed: [range(0, 64)])
    try allocator.deallocate(try allocator.allocate(byteCount: 4096, alignment: 4096))
    try allocator.reserve(range(33, 2))
    try allocator.deallocate(range(33, 2))
    let low = try allocator.allocate(byteCount: 8192, alignment: 4096, upTo: range(0, 16).last)
    #expect(low == range(2, 2))
    let even = try allocator.allocate(byteCount: 8192, alignment: 8192)
    #expect(even == range(4, 2))
    // It was still there.
    #expect(try allocator.allocate(byteCount: 8192, alignment: 4096) == range(33, 2))
  }

  @Test func whatWasGivenBackIsHandedOutAgain() throws {
    var allocator = IOVAAllocator(allowed: [range(1, 1024)])
    for length in [1, 3, 4, 512] as [UInt64] {
      let first = try allocator.allocate(byteCount: length * 4096, alignment: 4096)
      _ = try allocator.allocate(byteCount: 4096, alignment: 4096)
      try allocator.deallocate(first)
      #expect(try allocator.allocate(byteCount: length * 4096, alignment: 4096) == first)
    }
  }

  @Test(arguments: [1, 3, 512, 513, 1 << 20] as [UInt64])
  func aRangeIsGivenBackOnce(length: UInt64) throws {
    var allocator = IOVAAllocator(allowed: [IOVARange(start: IOVA(0), last: .highest(addressBits: 48))])
    let guardRange = try allocator.allocate(byteCount: 4096, alignment: 4096)
    let range = try allocator.allocate(byteCount: length * 4096, alignment: 4096)
    let longer = IOVARange(start: range.start, last: IOVA(range.last.rawValue + 4096))
    let odd = IOVARange(start: IOVA(range.start.rawValue + 1), last: range.last)
    for wrong in [
      longer, odd,
      IOVARange(start: IOVA(range.start.rawValue + 2048), last: IOVA(range.last.rawValue + 2048)),
    ] {
      #expect(failure { () throws(Failure) in try allocator.deallocate(wrong) } == .notAllocated)
    }
    try allocator.deallocate(range)
    // In its magazine, then in the tree.
    #expect(failure { () throws(Failure) in try allocator.deallocate(range) } == .notAllocated)
    allocator.collect()
    #expect(failure { () throws(Failure) in try allocator.deallocate(range) } == .notAllocated)
    try allocator.deallocate(guardRange)
    allocator.collect()
    #expect(allocator.freeRanges == allocator.allowed)
  }

  /// A link in a magazine is a number of a granule; none of them looks like a range that is handed out.
  @Test func aLinkIsNotARange() throws {
    var allocator = IOVAAllocator(allowed: [range(1, 1 << 17)])
    var ranges: [IOVARange] = []
    for _ in 0..<9000 { ranges.append(try allocator.allocate(byteCount: 4096, alignment: 4096)) }
    for range in ranges { try allocator.deallocate(range) }
    for range in ranges {
      #expect(failure { () throws(Failure) in try allocator.deallocate(range) } == .notAllocated)
    }
    allocator.collect()
    #expect(allocator.freeRanges == allocator.allowed)
  }

  @Test func magazinesAreEmptiedBeforeARefusal() throws {
    var allocator = IOVAAllocator(allowed: [range(1, 256)])
    var ranges: [IOVARange] = []
    for _ in 0..<256 { ranges.append(try allocator.allocate(byteCount: 4096, alignment: 4096)) }
    #expect(
      failure { () throws(Failure) in _ = try allocator.allocate(byteCount: 4096, alignment: 4096) }
        == .exhausted)
    for range in ranges.prefix(100) { try allocator.deallocate(range) }
    // All of it lies in a magazine: both ways to need it.
    #expect(allocator.freeRanges.isEmpty)
    try allocator.reserve(range(10, 2))
    try allocator.deallocate(range(10, 2))
    #expect(try allocator.allocate(byteCount: 100 * 4096, alignment: 4096) == range(1, 100))
    #expect(failure { () throws(Failure) in try allocator.reserve(range(100, 2)) } == .taken)
  }

  @Test func reservationsAreRefusedForAReason() throws {
    var allocator = IOVAAllocator(allowed: [range(0, 16), range(32, 16)], reserved: [range(4, 2)])
    #expect(allocator.allowed == [range(0, 4), range(6, 10), range(32, 16)])
    try allocator.reserve(range(0, 1))
    try allocator.deallocate(range(0, 1))
    // Address 0 is free, but nobody's choice; not even when it was given back last.
    #expect(try allocator.allocate(byteCount: 4096, alignment: 4096) == range(1, 1))
    #expect(failure { () throws(Failure) in try allocator.reserve(range(1, 1)) } == .taken)
    #expect(failure { () throws(Failure) in try allocator.reserve(range(0, 3)) } == .taken)
    #expect(failure { () throws(Failure) in try allocator.reserve(range(3, 2)) } == .notAllowed)
    #expect(failure { () throws(Failure) in try allocator.reserve(range(15, 18)) } == .notAllowed)
    #expect(
      failure { () throws(Failure) in try allocator.reserve(at: IOVA(.max - 4095), byteCount: 8192) }
        == .notAllowed)
    #expect(failure { () throws(Failure) in try allocator.reserve(at: IOVA(0), byteCount: 0) } == .notAllowed)
    #expect(
      failure { () throws(Failure) in _ = try allocator.allocate(byteCount: .max, alignment: 1) }
        == .exhausted)
    #expect(
      failure { () throws(Failure) in _ = try allocator.allocate(byteCount: 1, alignment: 1 << 63) }
        == .exhausted)
  }

  @Test func narrowingLetsHoldersFinish() throws {
    var allocator = IOVAAllocator(allowed: [range(1, 63)])
    let held = try (0..<8).map { _ in try allocator.allocate(byteCount: 4 * 4096, alignment: 4096) }
    try allocator.deallocate(held[0])
    // Forbids all of one range, a part of another, and what a magazine holds.
    allocator.narrow(to: [range(4, 4), range(14, 50)])
    for range in held.dropFirst() { try allocator.deallocate(range) }
    for range in held {
      #expect(failure { () throws(Failure) in try allocator.deallocate(range) } == .notAllocated)
    }
    allocator.collect()
    #expect(allocator.allowed == [range(4, 4), range(14, 50)])
    #expect(allocator.freeRanges == allocator.allowed)
    // What was forbidden stays so.
    allocator.narrow(to: [range(0, 20)])
    #expect(allocator.allowed == [range(4, 4), range(14, 6)])
  }

  /// Far from the lowest address the table has no entry, and everything works.
  @Test func rangesFarAwayAreHandedOutToo() throws {
    let far = IOVARange(start: IOVA(1 << 60), last: IOVA(.max))
    var allocator = IOVAAllocator(allowed: [range(1, 2), far])
    _ = try allocator.allocate(byteCount: 8192, alignment: 4096)
    let first = try allocator.allocate(byteCount: 4096, alignment: 4096)
    let second = try allocator.allocate(byteCount: 4096, alignment: 4096)
    #expect(first.start == IOVA(1 << 60) && second.start == IOVA(1 << 60 + 4096))
    try allocator.deallocate(first)
    #expect(failure { () throws(Failure) in try allocator.deallocate(first) } == .notAllocated)
    try allocator.deallocate(second)
    #expect(allocator.freeRanges == [far])
  }

  /// Everything in random lengths, back in random order: one range again.
  @Test(arguments: SeededNumbers.seeds("IOVA_SEED"))
  func aFragmentedSpaceBecomesWhole(seed: UInt64) throws {
    var numbers = SeededNumbers(seed)
    var allocator = IOVAAllocator(allowed: [range(1, 50_000)])
    for _ in 0..<3 {
      var (held, sum) = ([IOVARange](), UInt64(0))
      var most: UInt64 = 600
      while most > 0 {
        let length = UInt64.random(in: 1...most, using: &numbers)
        do throws(Failure) {
          held.append(try allocator.allocate(byteCount: length * 4096, alignment: 4096))
          sum += length
        } catch {
          most = length - 1
        }
      }
      #expect(sum == 50_000 && allocator.freeRanges.isEmpty)
      held.shuffle(using: &numbers)
      for range in held { try allocator.deallocate(range) }
      #expect(try allocator.allocate(byteCount: 50_000 * 4096, alignment: 4096) == range(1, 50_000))
      try allocator.deallocate(range(1, 50_000))
      #expect(allocator.freeRanges == allocator.allowed)
    }
  }
}
