// SPDX-License-Identifier: Apache-2.0
import LinuxHandles
import Synchronization

/// A file, or a block device, that is read and written past the page cache (`O_DIRECT`).
///
/// The kernel takes whole blocks there. Where the driver's memory is aligned as well, bytes go straight between it and the
/// medium. A request that begins or ends within a block, and one whose memory is not aligned, goes through a buffer, one
/// such request at a time: it reads the blocks that it writes a part of, so that two which change the same block do not
/// lose each other's sectors.
///
/// The end of a file that is no whole block is out of reach; it goes through the page cache, and nothing else does.
final class DirectStorage: DiskStorage {
  private let file: OwnedDescriptor
  private let alignment: DirectAlignment
  /// The end of the whole blocks; and what reaches the sectors behind it, if there are any.
  private let wholeByteCount: UInt64
  private let rest: CachedStorage
  private let buffer: Mutex<MappedMemory>

  /// Opens a file once more.
  /// - Parameters:
  ///   - cached: The same file through the page cache, for its rest.
  ///   - alignment: Nil for what the file system says.
  /// - Throws: `KernelError` for `open` and `statx`: `EINVAL` where the file has no direct I/O; for `lseek` and `mmap`.
  init(
    path: String, access: FileAccess, cached: consuming OwnedDescriptor, alignment: DirectAlignment?
  ) throws(KernelError) {
    file = try OwnedDescriptor.openDirect(path, for: access)
    if let alignment { self.alignment = alignment } else { self.alignment = try DirectAlignment(of: file) }
    let sector = BlockProtocol.sectorByteCount
    let block = self.alignment.offset
    // No page of the cache has bytes of both sides.
    let unit = UInt64(block <= sector ? sector : max(block, 4096))
    wholeByteCount = try file.byteCount / unit * unit
    rest = CachedStorage(cached)
    buffer = Mutex(
      try MappedMemory.anonymous(byteCount: max(1 << 20, block), alignment: max(4096, self.alignment.memory)))
  }

  func read(into parts: inout MemoryParts, at offset: UInt64) throws(KernelError) {
    if isStraight(parts, offset) { return try file.read(into: &parts, atFileOffset: offset) }
    let place = try exchange(&parts, at: offset) { (piece, parts) throws(KernelError) in
      try load(piece)
      unsafe parts.fillFirst(from: piece.bytes)
    }
    if parts.byteCount > 0 { try rest.read(into: &parts, at: place) }
  }

  func write(_ parts: inout MemoryParts, at offset: UInt64) throws(KernelError) {
    if isStraight(parts, offset) { return try file.write(&parts, atFileOffset: offset) }
    let place = try exchange(&parts, at: offset) { (piece, parts) throws(KernelError) in
      if !piece.isWhole { try load(piece) }
      unsafe parts.takeFirst(into: piece.bytes)
      try store(piece)
    }
    if parts.byteCount > 0 { try rest.write(&parts, at: place) }
  }

  /// Moves bytes by way of the buffer, one piece of the whole blocks after the other.
  /// - Returns: Where the file goes on for the parts that are left: they are behind the whole blocks.
  private func exchange(
    _ parts: inout MemoryParts, at offset: UInt64,
    _ move: (BufferedBlocks, inout MemoryParts) throws(KernelError) -> Void
  ) throws(KernelError) -> UInt64 {
    let end = min(offset + UInt64(parts.byteCount), wholeByteCount)
    if offset >= end { return offset }
    return try buffer.withLock { (buffer) throws(KernelError) in
      var place = offset
      while place < end {
        let piece = BufferedBlocks(place..<end, in: buffer, blockByteCount: alignment.offset)
        try move(piece, &parts)
        place += UInt64(unsafe piece.bytes.count)
      }
      return place
    }
  }

  /// Whether the kernel takes a request as it is.
  private func isStraight(_ parts: borrowing MemoryParts, _ offset: UInt64) -> Bool {
    offset & UInt64(alignment.offset - 1) == 0 && offset + UInt64(parts.byteCount) <= wholeByteCount
      && parts.areMultiples(ofAddress: alignment.memory, length: alignment.offset)
  }

  private func load(_ piece: BufferedBlocks) throws(KernelError) {
    var parts = piece.parts
    try file.read(into: &parts, atFileOffset: piece.offset)
  }

  private func store(_ piece: BufferedBlocks) throws(KernelError) {
    var parts = piece.parts
    try file.write(&parts, atFileOffset: piece.offset)
  }

  /// The whole file's, also of what went through the page cache.
  func flush() throws(KernelError) { try file.synchronizeData() }

  func deallocate(at offset: UInt64, byteCount: Int) throws(KernelError) {
    try file.deallocate(atFileOffset: offset, byteCount: UInt64(byteCount))
  }

  func zero(at offset: UInt64, byteCount: Int) throws(KernelError) {
    try file.zero(atFileOffset: offset, byteCount: UInt64(byteCount))
  }
}

/// Blocks of a file in a buffer, for a request that wants some of their bytes.
@safe
private struct BufferedBlocks {
  /// Where in the file the first block is.
  let offset: UInt64
  private let blocks: UnsafeMutableRawBufferPointer
  /// The bytes that the request wants.
  @unsafe let bytes: UnsafeMutableRawBufferPointer

  /// Makes room for as much of a range of the file as the buffer holds.
  init(_ range: Range<UInt64>, in buffer: borrowing MappedMemory, blockByteCount: Int) {
    let mask = UInt64(blockByteCount - 1)
    offset = range.lowerBound & ~mask
    let end = min((range.upperBound + mask) & ~mask, offset + UInt64(buffer.byteCount) & ~mask)
    let head = Int(range.lowerBound - offset)
    let count = Int(min(range.upperBound, end) - range.lowerBound)
    // SAFETY: both are within the buffer, by the two lines above; whoever has the buffer's lock has it alone.
    unsafe blocks = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: Int(end - offset))
    unsafe bytes = UnsafeMutableRawBufferPointer(start: buffer.baseAddress + head, count: count)
  }

  /// Whether the request wants nothing less than the blocks.
  var isWhole: Bool { unsafe bytes.count == blocks.count }

  /// The blocks, for one call.
  var parts: MemoryParts {
    var parts = MemoryParts(capacity: 1)
    _ = unsafe parts.append(blocks)
    return parts
  }
}
