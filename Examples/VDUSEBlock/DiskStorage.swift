// SPDX-License-Identifier: Apache-2.0
import LinuxHandles

/// Where the bytes of a disk are.
///
/// Offsets and lengths are in bytes and of whole sectors; what they tell is on the disk.
protocol DiskStorage: Sendable {
  func read(into parts: inout MemoryParts, at offset: UInt64) throws(KernelError)
  func write(_ parts: inout MemoryParts, at offset: UInt64) throws(KernelError)
  /// Waits until all that was written has reached the medium.
  func flush() throws(KernelError)
  /// Gives the storage of a range back, whose bytes read as zeroes from then on; `EOPNOTSUPP` where it cannot.
  func deallocate(at offset: UInt64, byteCount: Int) throws(KernelError)
  /// Makes a range zeroes and keeps its storage; `EOPNOTSUPP` where it cannot.
  func zero(at offset: UInt64, byteCount: Int) throws(KernelError)
}

/// A file, or a block device, that is read and written through the page cache.
final class CachedStorage: DiskStorage {
  private let file: OwnedDescriptor

  init(_ file: consuming OwnedDescriptor) { self.file = file }

  func read(into parts: inout MemoryParts, at offset: UInt64) throws(KernelError) {
    try file.read(into: &parts, atFileOffset: offset)
  }

  func write(_ parts: inout MemoryParts, at offset: UInt64) throws(KernelError) {
    try file.write(&parts, atFileOffset: offset)
  }

  func flush() throws(KernelError) { try file.synchronizeData() }

  func deallocate(at offset: UInt64, byteCount: Int) throws(KernelError) {
    try file.deallocate(atFileOffset: offset, byteCount: UInt64(byteCount))
  }

  func zero(at offset: UInt64, byteCount: Int) throws(KernelError) {
    try file.zero(atFileOffset: offset, byteCount: UInt64(byteCount))
  }
}

/// Nothing: what is written is forgotten, and a read leaves the driver's memory as it was.
///
/// For measuring what is left then.
struct NullStorage: DiskStorage {
  func read(into parts: inout MemoryParts, at offset: UInt64) {}
  func write(_ parts: inout MemoryParts, at offset: UInt64) {}
  func flush() {}
  func deallocate(at offset: UInt64, byteCount: Int) {}
  func zero(at offset: UInt64, byteCount: Int) {}
}
