// SPDX-License-Identifier: Apache-2.0
import Synchronization
import VDUSE

/// Frames on their way from one queue's thread to another's: a bounded ring of bytes, first in, first out.
///
/// One thread puts frames in, one takes them out; neither waits for the other, and what finds no room is refused.
@safe
final class FrameRing: Sendable {
  // An entry: the length of its packet in 4 bytes, 4 that are unused, the packet, up to a multiple of 8.
  private static let headByteCount = 8
  /// In place of a length: the rest of the ring is left out.
  private static let skip: UInt32 = .max

  // SAFETY: bytes from `head` to `tail` are the taker's, the others the putter's; both only grow, by their owner.
  nonisolated(unsafe) private let bytes: UnsafeMutableRawPointer
  private let byteCount: Int
  private let head = Atomic<Int>(0)
  private let tail = Atomic<Int>(0)
  private let isOpen = Atomic<Bool>(false)
  private let isAwaited = Atomic<Bool>(false)
  private let bell = Mutex<QueueBell?>(nil)

  /// - Parameter byteCount: A power of two.
  init(byteCount: Int) {
    precondition(byteCount >= 16 && byteCount & (byteCount - 1) == 0, "the ring has a power of two of bytes")
    self.byteCount = byteCount
    unsafe bytes = .allocate(byteCount: byteCount, alignment: 8)
  }

  deinit { unsafe bytes.deallocate() }

  // MARK: For the thread that puts frames in

  /// Whether somebody takes frames out.
  var hasTaker: Bool { isOpen.load(ordering: .acquiring) }

  /// Calls `fill` with room for a packet, and puts it in if that says so.
  /// - Returns: False where there is no room.
  @unsafe
  func put(byteCount count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Bool) -> Bool {
    let need = (Self.headByteCount + count + 7) & ~7
    var start = tail.load(ordering: .relaxed)
    let free = byteCount - (start - head.load(ordering: .acquiring))
    let rest = byteCount - (start & (byteCount - 1))
    // A packet lies in one piece.
    let skipped = rest < need ? rest : 0
    guard skipped + need <= free else { return false }
    if skipped > 0 {
      unsafe entry(start).storeBytes(of: Self.skip, as: UInt32.self)
      start += skipped
    }
    let place = unsafe entry(start)
    guard unsafe fill(UnsafeMutableRawBufferPointer(start: place + Self.headByteCount, count: count)) else {
      return true
    }
    unsafe place.storeBytes(of: UInt32(count), as: UInt32.self)
    // The entry before the question whether the taker sleeps: one of the two sees the other's.
    tail.store(start + need, ordering: .sequentiallyConsistent)
    if isAwaited.load(ordering: .sequentiallyConsistent),
      isAwaited.exchange(false, ordering: .sequentiallyConsistent)
    {
      bell.withLock { $0 }?.ring()
    }
    return true
  }

  // MARK: For the thread that takes frames out

  /// Lets frames in.
  /// - Parameter bell: Rung for a frame that is awaited.
  func open(_ bell: QueueBell) {
    removeAll()
    self.bell.withLock { $0 = bell }
    isOpen.store(true, ordering: .releasing)
  }

  /// Lets no more frames in, and forgets those that are there.
  func close() {
    isOpen.store(false, ordering: .releasing)
    bell.withLock { $0 = nil }
    removeAll()
  }

  /// The packet that has been there longest; nil where there is none.
  ///
  /// It stays until ``removeFirst()``.
  @unsafe
  var first: UnsafeMutableRawBufferPointer? {
    let end = tail.load(ordering: .acquiring)
    var start = head.load(ordering: .relaxed)
    if start == end { return nil }
    var place = unsafe entry(start)
    var count = unsafe place.load(as: UInt32.self)
    if count == Self.skip {
      start += byteCount - (start & (byteCount - 1))
      head.store(start, ordering: .releasing)
      unsafe place = entry(start)
      count = unsafe place.load(as: UInt32.self)
    }
    return unsafe UnsafeMutableRawBufferPointer(start: place + Self.headByteCount, count: Int(count))
  }

  /// Ends the packet that ``first`` gave out.
  func removeFirst() {
    let start = head.load(ordering: .relaxed)
    let count = unsafe Int(entry(start).load(as: UInt32.self))
    head.store(start + (Self.headByteCount + count + 7) & ~7, ordering: .releasing)
  }

  /// Asks for the bell to be rung for the next frame.
  /// - Returns: False where there is one already, for which it may not be rung.
  func expectNext() -> Bool {
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    if tail.load(ordering: .sequentiallyConsistent) == head.load(ordering: .relaxed) { return true }
    isAwaited.store(false, ordering: .relaxed)
    return false
  }

  private func removeAll() { head.store(tail.load(ordering: .acquiring), ordering: .releasing) }

  private func entry(_ place: Int) -> UnsafeMutableRawPointer { unsafe bytes + (place & (byteCount - 1)) }
}
