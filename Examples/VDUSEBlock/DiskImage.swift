// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
import SystemPackage

/// A file, or a block device, whose bytes are a disk's.
public final class DiskImage: Sendable {
  private let file: OwnedDescriptor
  /// Whether nothing is written.
  public let isReadOnly: Bool
  /// How many sectors of 512 bytes it has; the rest of a file of another length is not seen.
  public let sectorCount: UInt64

  /// Opens an image.
  /// - Throws: `KernelError` for `open` and `lseek`; `EINVAL` for a file without a whole sector.
  public init(path: String, isReadOnly: Bool = false) throws(KernelError) {
    let file = try OwnedDescriptor.open(path, for: isReadOnly ? .read : .readWrite)
    sectorCount = try file.byteCount / UInt64(BlockProtocol.sectorByteCount)
    guard sectorCount > 0 else {
      throw KernelError(
        operation: "open", errno: .invalidArgument, subject: path,
        remedy: "a disk has at least 512 bytes: truncate -s 64M \(path)")
    }
    self.file = file
    self.isReadOnly = isReadOnly
  }

  /// Whether a range lies on the disk.
  func contains(sector: UInt64, byteCount: Int) -> Bool {
    let (count, rest) = byteCount.quotientAndRemainder(dividingBy: BlockProtocol.sectorByteCount)
    return rest == 0 && sector <= sectorCount && UInt64(count) <= sectorCount - sector
  }

  func read(into parts: inout MemoryParts, at sector: UInt64) throws(KernelError) {
    try file.read(into: &parts, atFileOffset: sector * UInt64(BlockProtocol.sectorByteCount))
  }

  func write(_ parts: inout MemoryParts, at sector: UInt64) throws(KernelError) {
    try file.write(&parts, atFileOffset: sector * UInt64(BlockProtocol.sectorByteCount))
  }

  func flush() throws(KernelError) { try file.synchronizeData() }

  /// A wish, which a file system without holes need not grant.
  func discard(sector: UInt64, byteCount: Int) throws(KernelError) {
    do throws(KernelError) {
      try file.deallocate(atFileOffset: sector * 512, byteCount: UInt64(byteCount))
    } catch {
      guard error.errno == .notSupportedOnSocket else { throw error }
    }
  }

  /// Makes a range zeroes: as a hole where that is allowed, and by writing where the file system does not help.
  func zero(sector: UInt64, byteCount: Int, mayDeallocate: Bool) throws(KernelError) {
    let offset = sector * UInt64(BlockProtocol.sectorByteCount)
    do throws(KernelError) {
      if mayDeallocate {
        try file.deallocate(atFileOffset: offset, byteCount: UInt64(byteCount))
      } else {
        try file.zero(atFileOffset: offset, byteCount: UInt64(byteCount))
      }
    } catch {
      guard error.errno == .notSupportedOnSocket else { throw error }
      let zeroes = [UInt8](repeating: 0, count: min(byteCount, 1 << 20))
      var done = 0
      while done < byteCount {
        let part = unsafe zeroes.span.bytes.extracting(0..<min(zeroes.count, byteCount - done))
        done += try file.write(part, atFileOffset: offset + UInt64(done))
      }
    }
  }
}
