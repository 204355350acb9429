// SPDX-License-Identifier: Apache-2.0
public import DMACore
internal import LinuxHandles
public import Virtqueues

/// One line of a cache: plain numbers, so that a lookup touches no reference.
@frozen @usableFromInline
@safe struct IOTLBLine {
  @usableFromInline var start: UInt64
  @usableFromInline var last: UInt64
  /// What is added to an address, and gives a pointer.
  @usableFromInline var displacement: UInt
  /// 1: the device may read; 2: it may write.
  @usableFromInline var access: UInt64

  init(_ mapping: IOTLBMapping) {
    let range = mapping.entry.range
    start = range.start.rawValue
    last = range.last.rawValue
    displacement = UInt(bitPattern: unsafe mapping.baseAddress) &- UInt(truncatingIfNeeded: start)
    access =
      switch mapping.entry.access {
      case .read: 1
      case .write: 2
      default: 3
      }
  }
}

/// One thread's view of one address space of an ``IOTLB``: the last entry used is found in a few instructions.
///
/// It keeps its mappings until ``clear()``, so that what it gave out stays mapped until then.
@safe @frozen
public struct IOTLBCache: ~Copyable {
  @usableFromInline static var capacity: Int { 16 }

  /// The one used last comes first.
  @usableFromInline let lines: UnsafeMutablePointer<IOTLBLine>
  @usableFromInline let state: IOTLBCacheState

  /// Makes an empty cache.
  public init(of iotlb: IOTLB, addressSpace: Int) {
    unsafe lines = .allocate(capacity: Self.capacity)
    unsafe lines.initialize(repeating: .none, count: Self.capacity)
    state = IOTLBCacheState(iotlb, addressSpace)
  }

  deinit { unsafe lines.deallocate() }

  /// Where bytes are that the device may use in this way: all of them, and contiguous here.
  /// - Returns: Nil where they are not mapped, or for another use; valid until ``clear()``.
  @inlinable @inline(__always) @unsafe
  public borrowing func bytes(
    at start: IOVA, byteCount: Int, writable: Bool
  ) -> UnsafeMutableRawPointer? {
    let line = unsafe lines.pointee
    let need: UInt64 = writable ? 2 : 1
    let offset = start.rawValue &- line.start
    let room = line.last &- line.start
    // An address before the line wraps to a large offset.
    if _fastPath(
      offset <= room && UInt64(truncatingIfNeeded: byteCount &- 1) <= room &- offset
        && line.access & need != 0)
    {
      return unsafe UnsafeMutableRawPointer(
        bitPattern: line.displacement &+ UInt(truncatingIfNeeded: start.rawValue))
    }
    return unsafe findBytes(at: start, byteCount: byteCount, need: need)
  }

  /// As many of the bytes as are contiguous here; nil where the first of them is not mapped for this use.
  @inlinable @inline(__always) @unsafe
  public borrowing func run(
    at start: IOVA, byteCount: Int, writable: Bool
  ) -> UnsafeMutableRawBufferPointer? {
    if let all = unsafe bytes(at: start, byteCount: byteCount, writable: writable) {
      return unsafe UnsafeMutableRawBufferPointer(start: all, count: byteCount)
    }
    return unsafe firstRun(at: start, byteCount: byteCount, writable: writable)
  }

  /// The same where not all of them are contiguous.
  @usableFromInline @inline(never) @unsafe
  borrowing func firstRun(
    at start: IOVA, byteCount: Int, writable: Bool
  ) -> UnsafeMutableRawBufferPointer? {
    guard let first = unsafe bytes(at: start, byteCount: 1, writable: writable) else { return nil }
    // The line of the first byte is now at the front.
    let room = unsafe lines.pointee.last - start.rawValue
    return unsafe UnsafeMutableRawBufferPointer(start: first, count: min(Int(clamping: room) + 1, byteCount))
  }

  /// Lets all mappings go; nothing that was given out is used any more.
  public borrowing func clear() {
    unsafe lines.update(repeating: .none, count: Self.capacity)
    state.mappings = []
  }

  @usableFromInline @inline(never) @unsafe
  borrowing func findBytes(at start: IOVA, byteCount: Int, need: UInt64) -> UnsafeMutableRawPointer? {
    guard byteCount > 0, let range = IOVARange(start: start, byteCount: UInt64(byteCount)),
      let index = index(of: start)
    else { return nil }
    let line = unsafe lines[index]
    for place in stride(from: index, to: 0, by: -1) { unsafe lines[place] = lines[place - 1] }
    unsafe lines[0] = line
    guard range.last.rawValue <= line.last, line.access & need != 0 else { return nil }
    return unsafe UnsafeMutableRawPointer(
      bitPattern: line.displacement &+ UInt(truncatingIfNeeded: start.rawValue))
  }

  /// Which line has an address, after one was made for it where none did.
  private borrowing func index(of address: IOVA) -> Int? {
    for index in 0..<Self.capacity {
      let line = unsafe lines[index]
      if line.access != 0, line.start <= address.rawValue, address.rawValue <= line.last { return index }
    }
    // What the kernel does not tell is as if it were not mapped.
    guard let mapping = (try? state.iotlb.mapping(at: address, addressSpace: state.addressSpace)) ?? nil
    else { return nil }
    // A line that is pushed out leaves its mapping here: what was given out stays valid.
    if !state.mappings.contains(where: { $0 === mapping }) { state.mappings.append(mapping) }
    unsafe lines[Self.capacity - 1] = IOTLBLine(mapping)
    return Self.capacity - 1
  }
}

extension IOTLBLine {
  /// A line that has no address for any use.
  static var none: IOTLBLine { IOTLBLine(start: 0, last: 0, displacement: 0, access: 0) }

  private init(start: UInt64, last: UInt64, displacement: UInt, access: UInt64) {
    self.start = start
    self.last = last
    self.displacement = displacement
    self.access = access
  }
}

/// What a cache needs when it does not have an address; out of the way of lookups.
@usableFromInline
final class IOTLBCacheState {
  let iotlb: IOTLB
  let addressSpace: Int
  var mappings: [IOTLBMapping] = []

  init(_ iotlb: IOTLB, _ addressSpace: Int) {
    self.iotlb = iotlb
    self.addressSpace = addressSpace
  }
}

extension IOTLBCache: IOVATranslator {
  /// Where the device may read these bytes; nil where they are not mapped, or not contiguous here.
  @inlinable @unsafe
  public borrowing func readableBytes(at start: IOVA, byteCount: Int) -> UnsafeRawPointer? {
    unsafe UnsafeRawPointer(bytes(at: start, byteCount: byteCount, writable: false))
  }
}
