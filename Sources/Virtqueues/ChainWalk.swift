// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// The pieces of one chain, as they are found and checked.
@safe @frozen @usableFromInline
struct ChainWalk {
  /// The queue's own list, which has room for `limit`.
  @usableFromInline let segments: UnsafeMutablePointer<QueueSegment>
  @usableFromInline let limit: UInt32
  @usableFromInline var count: UInt32 = 0
  @usableFromInline var readableCount: UInt32 = 0
  @usableFromInline var byteCount: UInt64 = 0
  @usableFromInline var readableByteCount: UInt64 = 0

  @inlinable @inline(__always)
  init(into pieces: borrowing TakenPieces) {
    unsafe segments = pieces.table.base
    limit = pieces.limit
  }

  /// Adds a piece.
  /// - Parameter index: Of its descriptor, for the error.
  @inlinable @inline(__always)
  mutating func append(
    address: UInt64, byteCount length: UInt32, isWritable: Bool, index: UInt32
  ) throws(QueueError) {
    guard length != 0 else { throw QueueError(.zeroLength, at: index, value: address) }
    guard !address.addingReportingOverflow(UInt64(length) &- 1).overflow else {
      throw QueueError(.addressOverflow, at: index, value: address)
    }
    guard count < limit else { throw QueueError(.tooManySegments, at: index, value: UInt64(limit)) }
    if !isWritable {
      guard readableCount == count else {
        throw QueueError(.readableAfterWritable, at: index, value: address)
      }
      readableCount &+= 1
      readableByteCount &+= UInt64(length)
    }
    byteCount &+= UInt64(length)
    // SAFETY: below the limit, which is the room of the list.
    unsafe segments[Int(truncatingIfNeeded: count)] = QueueSegment(
      iova: IOVA(address), byteCount: length, isWritable: isWritable)
    count &+= 1
  }

  /// The chain, when its last piece is in.
  @inlinable @inline(__always)
  func chain(id: UInt32, slotCount: UInt32) throws(QueueError) -> QueueChain {
    guard byteCount <= UInt64(UInt32.max) else { throw QueueError(.tooManyBytes, at: id, value: byteCount) }
    return QueueChain(
      id: UInt16(truncatingIfNeeded: id), slotCount: UInt16(truncatingIfNeeded: slotCount),
      segmentCount: UInt16(truncatingIfNeeded: count),
      readableSegmentCount: UInt16(truncatingIfNeeded: readableCount),
      readableByteCount: UInt32(truncatingIfNeeded: readableByteCount),
      writableByteCount: UInt32(truncatingIfNeeded: byteCount &- readableByteCount))
  }
}

extension QueueError {
  @inlinable @inline(__always)
  init(_ code: Code, at index: UInt32, value: UInt64) {
    self.init(code, index: UInt16(truncatingIfNeeded: index), value: value)
  }
}
