// SPDX-License-Identifier: Apache-2.0

/// Checks, while a driver adds a chain, that it is one: the caller's contract.
@frozen @usableFromInline
struct OfferedBytes {
  @usableFromInline var total: UInt64 = 0
  @usableFromInline var writable: UInt64 = 0

  @inlinable
  init() {}

  @inlinable @inline(__always)
  mutating func add(_ segment: QueueSegment) {
    precondition(segment.byteCount != 0, "each piece of a chain has bytes")
    if segment.isWritable {
      writable &+= UInt64(segment.byteCount)
    } else {
      precondition(writable == 0, "what the device reads comes before what it writes")
    }
    total &+= UInt64(segment.byteCount)
  }

  /// How many bytes the device may write.
  @inlinable @inline(__always)
  func writableByteCount() -> UInt32 {
    precondition(total <= UInt64(UInt32.max), "a chain has less than 2^32 bytes")
    return UInt32(truncatingIfNeeded: writable)
  }
}
