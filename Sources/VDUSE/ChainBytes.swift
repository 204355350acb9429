// SPDX-License-Identifier: Apache-2.0
internal import DMACore
public import LinuxHandles
public import Virtqueues

/// A chain as two runs of bytes, one that the device reads and one that it writes: where the driver cut them into pieces
/// means nothing.
///
/// It is asked for while the chain is the one that was taken last, and its bytes are there until the service returns.
public struct ChainBytes: Sendable {
  /// The chain.
  public let chain: QueueChain

  /// The bytes of a chain.
  public init(_ chain: QueueChain) { self.chain = chain }

  /// Two 64-bit numbers that the driver wrote, little-endian, read once; nil where they are not there or not mapped.
  public func loadTwoWords(at offset: Int, of queue: borrowing ServedQueue) -> (UInt64, UInt64)? {
    guard offset + 16 <= Int(chain.readableByteCount) else { return nil }
    var words: (UInt64, UInt64) = (0, 0)
    let isThere = unsafe withUnsafeMutableBytes(of: &words) { words in
      unsafe load(into: words, at: offset, of: queue)
    }
    return isThere ? (UInt64(littleEndian: words.0), UInt64(littleEndian: words.1)) : nil
  }

  /// Reads bytes that the driver wrote, each once; false where a part is not mapped.
  @unsafe
  public func load(
    into bytes: UnsafeMutableRawBufferPointer, at offset: Int, of queue: borrowing ServedQueue
  ) -> Bool {
    var place = 0
    return unsafe forEachPiece(of: offset..<offset + bytes.count, isWritable: false, queue) { piece in
      unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[place...]).copyMemory(
        from: UnsafeRawBufferPointer(piece))
      place += piece.count
      return true
    }
  }

  /// Writes one byte for the driver; false where there is no room, or it is not mapped.
  public func store(_ byte: UInt8, at offset: Int, of queue: borrowing ServedQueue) -> Bool {
    unsafe withUnsafeBytes(of: byte) { unsafe store($0, at: offset, of: queue) }
  }

  /// Writes bytes for the driver; false where there is no room, or a part is not mapped.
  public func store(_ bytes: borrowing Span<UInt8>, at offset: Int, of queue: borrowing ServedQueue) -> Bool {
    unsafe bytes.withUnsafeBytes { unsafe store($0, at: offset, of: queue) }
  }

  /// Writes bytes for the driver; false where there is no room, or a part is not mapped.
  @unsafe
  public func store(_ bytes: UnsafeRawBufferPointer, at offset: Int, of queue: borrowing ServedQueue) -> Bool
  {
    var place = 0
    return unsafe forEachPiece(of: offset..<offset + bytes.count, isWritable: true, queue) { piece in
      unsafe piece.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[place..<place + piece.count]))
      place += piece.count
      return true
    }
  }

  /// Where a range of the bytes for the driver, or of those from it, is; nil where a part of it is not mapped.
  public func parts(_ range: Range<Int>, isWritable: Bool, of queue: borrowing ServedQueue) -> MemoryParts? {
    // A piece has a second part where it runs from one entry of the IOTLB into the next.
    var parts = MemoryParts(capacity: 2 * Int(chain.segmentCount))
    let isThere = unsafe forEachPiece(of: range, isWritable: isWritable, queue) {
      unsafe parts.append($0)
    }
    return isThere ? consume parts : nil
  }

  /// Calls `body` with what is contiguous here, in order; false where a part is not mapped, or `body` says so.
  @inline(__always)
  private func forEachPiece(
    of range: Range<Int>, isWritable: Bool, _ queue: borrowing ServedQueue,
    _ body: (UnsafeMutableRawBufferPointer) -> Bool
  ) -> Bool {
    let readable = Int(chain.readableSegmentCount)
    let segments = isWritable ? readable..<Int(chain.segmentCount) : 0..<readable
    var start = 0
    for index in segments {
      let segment = queue.segment(index)
      let (first, end) = (max(range.lowerBound, start), min(range.upperBound, start + Int(segment.byteCount)))
      var place = first
      while place < end {
        // Within the segment, whose last address the queue has checked.
        let address = IOVA(segment.iova.rawValue &+ UInt64(place - start))
        guard let piece = unsafe queue.memory.run(at: address, byteCount: end - place, writable: isWritable),
          unsafe body(piece)
        else { return false }
        place += piece.count
      }
      start += Int(segment.byteCount)
      if start >= range.upperBound { return true }
    }
    return start >= range.upperBound
  }
}
