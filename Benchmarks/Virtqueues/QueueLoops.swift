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
  unsafe serve(&queue, available, &next, count, publishing: false)
}

/// The same, and publishes each.
@inline(never)
func splitServe(
  _ queue: inout SplitQueueDevice, _ available: UnsafeMutableRawPointer, _ next: inout UInt16, _ count: UInt32
) -> UInt64 {
  unsafe serve(&queue, available, &next, count, publishing: true)
}

/// What both do, for the compiler to make each of.
/// - Returns: A sum of the pieces; 0 where the queue broke.
@inline(__always)
private func serve(
  _ queue: inout SplitQueueDevice, _ available: UnsafeMutableRawPointer, _ next: inout UInt16,
  _ count: UInt32,
  publishing: Bool
) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(QueueError) {
    while index != count {
      next &+= 1
      unsafe cmmio_write16(available + 2, next)
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

/// As `splitServe`, of a packed ring.
///
/// Not one generic function with it: the compiler makes that one call its queue through a witness, which hotcheck finds.
@inline(never)
func packedServe(
  _ queue: inout PackedQueueDevice, _ descriptors: UnsafeMutableRawPointer, _ driver: inout PackedDriver,
  _ count: UInt32
) -> UInt64 {
  var sum: UInt64 = 0
  var index: UInt32 = 0
  do throws(QueueError) {
    while index != count {
      unsafe driver.offer(descriptors)
      guard let chain = try queue.take(through: NoTranslation()) else { return 0 }
      var piece = 0
      while piece != Int(chain.segmentCount) {
        let segment = queue.segment(piece)
        sum &+= segment.iova.rawValue &+ UInt64(segment.byteCount)
        piece &+= 1
      }
      queue.complete(chain, writtenByteCount: chain.writableByteCount)
      if queue.publish() { sum &+= 1 }
      index &+= 1
    }
  } catch {
    return 0
  }
  return sum
}

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
