// SPDX-License-Identifier: Apache-2.0
internal import CMMIO
internal import DMACore
internal import Virtqueues

// Each loop is its own function of the binary: the profiler and hotcheck find it by its name.

/// Plays the driver with one store, takes a chain, adds up its pieces and completes it.
@inline(never)
func splitTake(
  _ queue: inout SplitQueueDevice, _ available: UnsafeMutableRawPointer, _ next: inout UInt16, _ count: UInt32
) -> UInt64 {
  serve(&queue, count, publishing: false) {
    next &+= 1
    unsafe cmmio_write16(available + 2, next)
  }
}

/// The same, and publishes each.
@inline(never)
func splitServe(
  _ queue: inout SplitQueueDevice, _ available: UnsafeMutableRawPointer, _ next: inout UInt16, _ count: UInt32
) -> UInt64 {
  serve(&queue, count, publishing: true) {
    next &+= 1
    unsafe cmmio_write16(available + 2, next)
  }
}

/// As `splitServe`, of a packed ring.
@inline(never)
func packedServe(
  _ queue: inout PackedQueueDevice, _ descriptors: UnsafeMutableRawPointer, _ driver: inout PackedDriver,
  _ count: UInt32
) -> UInt64 {
  serve(&queue, count, publishing: true) { unsafe driver.offer(descriptors) }
}

/// What the loops do, for the compiler to make each of.
/// - Returns: A sum of the pieces; 0 where the queue broke.
@inline(__always)
private func serve<Queue: ServedQueue & ~Copyable>(
  _ queue: inout Queue, _ count: UInt32, publishing: Bool, offer: () -> Void
) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(QueueError) {
    while index != count {
      offer()
      guard let chain = try queue.take(through: NoTranslation()) else { return 0 }
      var piece = 0
      while piece != Int(chain.segmentCount) {
        let segment = queue.segment(piece)
        sum &+= segment.iova.rawValue &+ UInt64(segment.byteCount)
        piece &+= 1
      }
      queue.complete(chain, writtenByteCount: chain.writableByteCount)
      if publishing && queue.publish() { sum &+= 1 }
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}

/// What both devices' sides have.
private protocol ServedQueue: ~Copyable {
  mutating func take(through translation: NoTranslation) throws(QueueError) -> QueueChain?
  func segment(_ index: Int) -> QueueSegment
  mutating func complete(_ chain: QueueChain, writtenByteCount: UInt32)
  mutating func publish() -> Bool
}

extension SplitQueueDevice: ServedQueue {}
extension PackedQueueDevice: ServedQueue {}

/// A driver that offers the next three slots again by writing the first one.
struct PackedDriver {
  let size: Int
  var place = 0
  var flags: UInt64 = 1 << 7 | 1

  @inline(__always)
  mutating func offer(_ descriptors: UnsafeMutableRawPointer) {
    unsafe cmmio_write64(descriptors + (place &* 16 &+ 8), 16 | flags &<< 48)
    place &+= 3
    if place == size {
      place = 0
      flags ^= 1 << 7 | 1 << 15
    }
  }
}
