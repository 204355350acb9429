// SPDX-License-Identifier: Apache-2.0
internal import CTwinsVirtqueues
internal import DMACore
internal import LoopMeasurement
internal import Virtqueues

/// What must cost no more than C: a chain of three descriptors, taken with all checks, completed and published.
@main
enum Main {
  /// What of Swift may cost more than C on a hot path; see Benchmarks/README.md.
  private static let limit = 1.05

  static func main() throws {
    try split()
    try packed()
  }

  private static func split() throws {
    let size = 256
    let layout = SplitRingLayout(size: size)
    let rings = unsafe (0..<3).map { _ in unsafe zeroed(layout.byteCount) }
    for number in 0..<3 {
      let ring = unsafe rings[number]
      for head in 0..<64 {
        for piece in 0..<3 { unsafe write(ring, head * 3 + piece, piece, UInt64(head * 3 + piece + 1) << 48) }
      }
      for place in 0..<size {
        unsafe (ring + layout.availableOffset + 4 + place * 2)
          .storeBytes(of: UInt16(place % 64 * 3), as: UInt16.self)
      }
    }
    let ring = unsafe rings[0]
    var queue = try SplitQueueDevice(
      size: size, descriptors: unsafe RingArea(unsafeStart: ring, byteCount: layout.availableOffset),
      available: unsafe RingArea(
        unsafeStart: ring + layout.availableOffset, byteCount: SplitRingLayout.availableByteCount(size: size)),
      used: unsafe RingArea(
        unsafeStart: ring + layout.usedOffset, byteCount: SplitRingLayout.usedByteCount(size: size)),
      features: [])
    let twins = unsafe rings[1...].map { ring in
      unsafe twin_split_new(ring, ring + layout.availableOffset, ring + layout.usedOffset, UInt32(size))
    }
    defer { for number in 0..<2 { unsafe twin_split_delete(twins[number]) } }
    var next: UInt16 = 0
    Measurement.compare("SplitQueueDevice, take and complete 3 descriptors", .init(checked: limit)) {
      unsafe splitTake(&queue, ring + layout.availableOffset, &next, $0)
    } twin: {
      unsafe twin_split_take(twins[0], $0)
    } unchecked: {
      unsafe twin_split_take_unchecked(twins[1], $0)
    }
    Measurement.compare("SplitQueueDevice, and publish them", .init(checked: limit)) {
      unsafe splitServe(&queue, ring + layout.availableOffset, &next, $0)
    } twin: {
      unsafe twin_split_serve(twins[0], $0)
    } unchecked: {
      unsafe twin_split_serve_unchecked(twins[1], $0)
    }
  }

  private static func packed() throws {
    // A multiple of three, so that a chain always begins in the same places.
    let size = 255
    let layout = PackedRingLayout(size: size)
    let rings = unsafe (0..<3).map { _ in unsafe zeroed(layout.byteCount) }
    for number in 0..<3 {
      let ring = unsafe rings[number]
      for slot in 0..<size { unsafe write(ring, slot, slot % 3, 0, flagsShift: 48) }
    }
    let ring = unsafe rings[0]
    var queue = try PackedQueueDevice(
      size: size, descriptors: unsafe RingArea(unsafeStart: ring, byteCount: size * 16),
      driverEvent: unsafe RingArea(unsafeStart: ring + layout.driverEventOffset, byteCount: 4),
      deviceEvent: unsafe RingArea(unsafeStart: ring + layout.deviceEventOffset, byteCount: 4), features: [])
    let twins = unsafe rings[1...].map { ring in
      unsafe twin_packed_new(ring, ring + layout.driverEventOffset, UInt32(size))
    }
    defer { for number in 0..<2 { unsafe twin_packed_delete(twins[number]) } }
    var driver = PackedDriver(size: size)
    Measurement.compare("PackedQueueDevice, take, complete and publish", .init(checked: limit)) {
      unsafe packedServe(&queue, ring, &driver, $0)
    } twin: {
      unsafe twin_packed_serve(twins[0], $0)
    } unchecked: {
      unsafe twin_packed_serve_unchecked(twins[1], $0)
    }
  }

  /// One piece of a chain of three: 16 bytes that are read, then 4096 and 1 that are written.
  private static func write(
    _ ring: UnsafeMutableRawPointer, _ index: Int, _ piece: Int, _ next: UInt64, flagsShift: UInt64 = 32
  ) {
    let flags: UInt64 = [1, 3, 2][piece]
    let byteCount: UInt64 = [16, 4096, 1][piece]
    unsafe (ring + index * 16).storeBytes(of: UInt64(index + 1) << 12, as: UInt64.self)
    unsafe (ring + index * 16 + 8)
      .storeBytes(of: byteCount | flags << flagsShift | (piece < 2 ? next : 0), as: UInt64.self)
  }

  /// Memory that the program keeps.
  private static func zeroed(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 4096)
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    return unsafe memory
  }
}
