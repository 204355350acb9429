// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

/// An open file that mappings of an IOTLB lie in.
public final class IOTLBFile: Sendable {
  private let descriptor: OwnedDescriptor

  /// Takes over a file that can be mapped for reading and writing.
  public init(adopting descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

  /// Makes a file in memory whose length nobody can change: whoever maps it cannot pull it away from under us.
  /// - Throws: `KernelError` for `memfd_create`, `ftruncate` or `fcntl`.
  init(named name: String, byteCount: Int) throws(KernelError) {
    // The kernel takes 249 bytes; a character may have four.
    let short = String(name.prefix(60))
    let file = OwnedDescriptor(
      adopting: try kernelCall("memfd_create", on: name) { unsafe abi_memfd_create(short) })
    let fd = file.rawValue
    try kernelCall("ftruncate", on: "\(byteCount) bytes") { abi_ftruncate(fd, UInt64(byteCount)) }
    try kernelCall("fcntl", on: "F_ADD_SEALS") { abi_seal_size(fd) }
    descriptor = file
  }

  /// A descriptor for another process, or another mapping.
  /// - Throws: `KernelError` for `dup`.
  public func duplicate() throws(KernelError) -> OwnedDescriptor { try descriptor.duplicate() }

  /// Maps a part of it, for reading and writing; a child of this process does not see it.
  /// - Parameter offset: In bytes; page aligned.
  /// - Throws: `KernelError` for `mmap` or `madvise`.
  func mapping(at offset: UInt64, byteCount: Int) throws(KernelError) -> MappedMemory {
    let mapping = try MappedMemory.sharing(descriptor, offset: offset, byteCount: byteCount)
    let base = unsafe mapping.baseAddress
    try kernelCall("madvise", on: "\(byteCount) bytes, MADV_DONTFORK") {
      unsafe abi_madvise(base, UInt64(byteCount), MADV_DONTFORK)
    }
    return mapping
  }

  /// Maps a part of it, shared, in the place of whatever is at an address.
  /// - Throws: `KernelError` for `mmap` or `madvise`; after the latter the file is there.
  @unsafe
  func map(at offset: UInt64, over base: UnsafeMutableRawPointer, byteCount: Int) throws(KernelError) {
    let fd = descriptor.rawValue
    try kernelCall("mmap", on: "\(byteCount) bytes at offset \(offset)") {
      unsafe abi_mmap(
        base, UInt64(byteCount), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset)
    }
    try kernelCall("madvise", on: "\(byteCount) bytes, MADV_DONTFORK") {
      unsafe abi_madvise(base, UInt64(byteCount), MADV_DONTFORK)
    }
  }

  /// Maps a part of a file over a mapping that lost it.
  func map(at offset: UInt64, over memory: borrowing MappedMemory) throws(KernelError) {
    try memory.map(descriptor.rawValue, offset: offset)
  }
}
