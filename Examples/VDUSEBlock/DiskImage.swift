// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
import SystemPackage

/// A file, or a block device, whose bytes are a disk's.
public final class DiskImage: Sendable {
  /// Where the bytes are; it also keeps the file locked.
  private let storage: any DiskStorage
  /// Whether nothing is written.
  public let isReadOnly: Bool
  /// How many sectors of 512 bytes it has; the rest of a file of another length is not seen.
  public let sectorCount: UInt64

  /// Opens an image.
  /// - Parameters:
  ///   - isDirect: Past the page cache: what the driver reads and writes is not kept in memory here as well.
  ///   - alignment: What that needs; nil for what the file system says.
  /// - Throws: `KernelError` for `open` and `lseek`; `EINVAL` for a file without a whole sector; for `flock`:
  ///   `EWOULDBLOCK` while another image is over the same file, unless nobody writes it. With `isDirect` also for `statx`
  ///   and `mmap`; `EINVAL` where the file system has no direct I/O.
  public init(
    path: String, isReadOnly: Bool = false, isDirect: Bool = false, alignment: DirectAlignment? = nil
  ) throws(KernelError) {
    let access: FileAccess = isReadOnly ? .read : .readWrite
    let file = try Self.openLocked(path, for: access)
    sectorCount = try file.byteCount / UInt64(BlockProtocol.sectorByteCount)
    guard sectorCount > 0 else {
      throw KernelError(
        operation: "open", errno: .invalidArgument, subject: path,
        remedy: "a disk has at least 512 bytes: truncate -s 64M \(path)")
    }
    if isDirect {
      storage = try DirectStorage(path: path, access: access, cached: file, alignment: alignment)
    } else {
      storage = CachedStorage(file)
    }
    self.isReadOnly = isReadOnly
  }

  /// Makes a disk that forgets what is written and reads nothing: to measure what is left without an image.
  /// - Parameter byteCount: Of which whole sectors are seen; at least one.
  public init(nullByteCount byteCount: UInt64) {
    sectorCount = byteCount / UInt64(BlockProtocol.sectorByteCount)
    precondition(sectorCount > 0, "a disk has at least 512 bytes")
    storage = NullStorage()
    isReadOnly = false
  }

  /// Whether a range lies on the disk.
  func contains(sector: UInt64, byteCount: Int) -> Bool {
    let (count, rest) = byteCount.quotientAndRemainder(dividingBy: BlockProtocol.sectorByteCount)
    return rest == 0 && sector <= sectorCount && UInt64(count) <= sectorCount - sector
  }

  package func read(into parts: inout MemoryParts, at sector: UInt64) throws(KernelError) {
    try storage.read(into: &parts, at: Self.offset(sector))
  }

  package func write(_ parts: inout MemoryParts, at sector: UInt64) throws(KernelError) {
    try storage.write(&parts, at: Self.offset(sector))
  }

  package func flush() throws(KernelError) { try storage.flush() }

  /// A wish, which a file system without holes need not grant.
  func discard(sector: UInt64, byteCount: Int) throws(KernelError) {
    do throws(KernelError) {
      try storage.deallocate(at: Self.offset(sector), byteCount: byteCount)
    } catch {
      guard error.errno == .notSupportedOnSocket else { throw error }
    }
  }

  /// Makes a range zeroes: as a hole where that is allowed, and by writing where the file system does not help.
  package func zero(sector: UInt64, byteCount: Int, mayDeallocate: Bool) throws(KernelError) {
    let offset = Self.offset(sector)
    do throws(KernelError) {
      if mayDeallocate {
        try storage.deallocate(at: offset, byteCount: byteCount)
      } else {
        try storage.zero(at: offset, byteCount: byteCount)
      }
    } catch {
      guard error.errno == .notSupportedOnSocket else { throw error }
      try writeZeroes(at: offset, byteCount: byteCount)
    }
  }

  private func writeZeroes(at offset: UInt64, byteCount: Int) throws(KernelError) {
    let zeroes = try MappedMemory.anonymous(byteCount: 1 << 20)
    var done = 0
    while done < byteCount {
      let count = min(zeroes.byteCount, byteCount - done)
      var parts = MemoryParts(capacity: 1)
      _ = unsafe parts.append(UnsafeMutableRawBufferPointer(start: zeroes.baseAddress, count: count))
      try storage.write(&parts, at: offset + UInt64(done))
      done += count
    }
  }

  private static func offset(_ sector: UInt64) -> UInt64 { sector * UInt64(BlockProtocol.sectorByteCount) }
}
