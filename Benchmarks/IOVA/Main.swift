// SPDX-License-Identifier: Apache-2.0
internal import CTwinsIOVA
internal import DMACore
internal import Synchronization

/// What must cost no more than C: an address from a magazine and back, and the way from an address to a
/// mapping.
///
/// It prints one line for each comparison, as the other benchmarks do: name, operations, the greatest ratio to
/// the checked and to the unchecked twin, and the greatest number of instructions; "-" for no limit.
@main
enum Main {
  typealias Loop = (UInt32) -> UInt64
  /// Enough that the calls around a loop vanish behind it.
  static let operations: UInt32 = 100_000
  static let lowest: UInt64 = 1 << 20
  static let limit = IOVA.highest(addressBits: 48)
  static let space = IOVARange(start: IOVA(lowest), last: limit)

  static func main() throws {
    try magazines()
    for count in [4096, 1_000_000] as [UInt32] { try lookUps(count) }
  }

  private static func compare(
    _ name: String, _ limits: (checked: Double?, unchecked: Double?, instructions: Int?), loop: Loop,
    twin: Loop,
    unchecked: Loop
  ) {
    let sums = [run(loop), run(twin), run(unchecked)]
    precondition(
      sums[0] != 0 && sums.allSatisfy { $0 == sums[0] }, "\(name) and its twins do different things: \(sums)")
    print(
      name, operations, limits.checked.map { "\($0)" } ?? "-", limits.unchecked.map { "\($0)" } ?? "-",
      limits.instructions.map { "\($0)" } ?? "-", separator: "\t")
  }

  private static func run(_ loop: Loop) -> UInt64 {
    // What happens once is not the loop's.
    _ = loop(64)
    twin_measurement_begins()
    let sum = loop(operations)
    twin_measurement_ends()
    return sum
  }

  /// Gives both sides 64 ranges of 1, 2, 4 and 8 pages at the same places.
  private static func magazines() throws {
    var allocator = IOVAAllocator(allowed: [space])
    let live = UnsafeMutablePointer<IOVARange>.allocate(capacity: 64)
    let twin = unsafe twin_iovas_new(lowest, 4096)
    let caches = unsafe twin_rcaches_new()
    defer {
      unsafe live.deallocate()
      unsafe twin_iovas_delete(twin)
      unsafe twin_rcaches_delete(caches)
    }
    var (twinLive, cachesLive) = ([twin_range](), [twin_range]())
    for index in 0..<64 as Range<UInt64> {
      let byteCount: UInt64 = 4096 << (index & 3)
      let range = try allocator.allocate(byteCount: byteCount, alignment: 4096, upTo: limit)
      unsafe (live + Int(index)).initialize(to: range)
      unsafe twin_iovas_note(twin, range.start.rawValue, byteCount)
      twinLive.append(twin_range(start: range.start.rawValue, last: range.last.rawValue))
      cachesLive.append(twin_range(start: range.start.rawValue, last: range.last.rawValue))
    }
    let (alignment, reach) = (UInt64(4096), limit.rawValue)
    compare("IOVAAllocator, free and allocate, 64 in flight", (1.0, nil, nil)) {
      unsafe iovaRing(&allocator, live, alignment, limit, $0)
    } twin: {
      unsafe twin_iova_ring(twin, &twinLive, alignment, reach, $0)
    } unchecked: {
      unsafe twin_rcache_ring(caches, &cachesLive, reach, $0)
    }
    for index in 0..<64 {
      let range = unsafe live[index]
      try allocator.deallocate(range)
      unsafe twin_iovas_return(twin, range.start.rawValue, range.last.rawValue)
      unsafe twin_rcaches_put(caches, range.start.rawValue, range.byteCountMinusOne + 1)
    }
    let length = UInt64(operations) / 100_000 * 8192  // known at run time only
    compare("IOVAAllocator, allocate and free", (1.0, nil, 40)) {
      iovaSame(&allocator, length, alignment, limit, $0)
    } twin: {
      unsafe twin_iova_same(twin, length, alignment, reach, $0)
    } unchecked: {
      unsafe twin_rcache_same(caches, length, reach, $0)
    }
    compare("IOVAAllocator, allocate and free, 4 lengths in turn", (1.0, nil, nil)) {
      iovaPair(&allocator, alignment, limit, $0)
    } twin: {
      unsafe twin_iova_pair(twin, alignment, reach, $0)
    } unchecked: {
      unsafe twin_rcache_pair(caches, reach, $0)
    }
    let shared = Mutex(allocator)
    compare("IOVAAllocator under a Mutex, allocate and free", (1.0, 1.0, nil)) {
      iovaLockedPair(shared, alignment, limit, $0)
    } twin: {
      unsafe twin_iova_locked_pair(twin, alignment, reach, $0)
    } unchecked: {
      unsafe twin_rcache_locked_pair(caches, reach, $0)
    }
  }

  /// Mappings of one page each, a free page after each.
  private static func lookUps(_ count: UInt32) throws {
    let map = IOVAMap()
    let twin = unsafe twin_map_new()
    defer { unsafe twin_map_delete(twin) }
    for slot in 0..<count {
      let start = lowest + UInt64(slot) * 8192
      try map.insert(IOVARange(start: IOVA(start), last: IOVA(start + 4095)), slot: slot)
      unsafe twin_map_insert(twin, start, 1, slot)
    }
    var state: UInt64 = 1
    let queries = (0..<0x4000).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return lowest + (state >> 33) % UInt64(count) * 8192 + state >> 20 & 4095
    }
    compare("IOVAMap, look-up, \(count) mappings", (1.05, nil, 25)) { count in
      unsafe queries.withUnsafeBufferPointer {
        unsafe iovaLookup(map, $0.baseAddress.unsafelyUnwrapped, count)
      }
    } twin: {
      unsafe twin_map_lookup(twin, queries, $0)
    } unchecked: {
      unsafe twin_map_lookup_unchecked(twin, queries, $0)
    }
  }
}
