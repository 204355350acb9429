// SPDX-License-Identifier: Apache-2.0
internal import CTwinsIOVA
internal import DMACore
internal import LoopMeasurement
internal import Synchronization

/// What must cost no more than C: an address from a magazine and back, and the way from an address to a
/// mapping.
@main
enum Main {
  static let lowest: UInt64 = 1 << 20
  static let limit = IOVA.highest(addressBits: 48)
  static let space = IOVARange(start: IOVA(lowest), last: limit)

  static func main() throws {
    try magazines()
    for count in [4096, 1_000_000] as [UInt32] { try lookUps(count) }
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
    Measurement.compare("IOVAAllocator, free and allocate, 64 in flight", .init(checked: 1.0)) {
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
    let length = UInt64(CommandLine.arguments.count) * 8192  // known at run time only
    Measurement.compare("IOVAAllocator, allocate and free", .init(checked: 1.0, instructions: 40)) {
      iovaSame(&allocator, length, alignment, limit, $0)
    } twin: {
      unsafe twin_iova_same(twin, length, alignment, reach, $0)
    } unchecked: {
      unsafe twin_rcache_same(caches, length, reach, $0)
    }
    Measurement.compare("IOVAAllocator, allocate and free, 4 lengths in turn", .init(checked: 1.0)) {
      iovaPair(&allocator, alignment, limit, $0)
    } twin: {
      unsafe twin_iova_pair(twin, alignment, reach, $0)
    } unchecked: {
      unsafe twin_rcache_pair(caches, reach, $0)
    }
    let shared = Mutex(allocator)
    Measurement.compare("IOVAAllocator under a Mutex, allocate and free", .init(checked: 1.0, unchecked: 1.0))
    {
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
    Measurement.compare("IOVAMap, look-up, \(count) mappings", .init(checked: 1.05, instructions: 25)) {
      count in
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
