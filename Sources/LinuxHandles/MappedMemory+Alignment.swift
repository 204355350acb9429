// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

extension MappedMemory {
  /// Maps a part of an open file, shared, at an address that is as far from an alignment as the file's part is.
  ///
  /// The kernel maps device memory by huge pages (Linux 6.12) where the address in this process and the one of
  /// the device leave the same rest: then one page fault and one entry of the TLB reach what 512 did.
  /// - Parameters:
  ///   - offset: In bytes; page aligned.
  ///   - byteCount: Whole pages.
  ///   - alignment: The size of the huge page, in bytes: a power of two, at least a page.
  ///   - rest: What the address leaves when divided by `alignment`; whole pages.
  /// - Throws: `KernelError` for `mmap`, or for `munmap` of what the alignment left over.
  public static func sharing(
    _ descriptor: borrowing OwnedDescriptor, offset: UInt64, byteCount: Int, alignment: Int, rest: Int
  ) throws(KernelError) -> MappedMemory {
    precondition(alignment > 0 && alignment & (alignment - 1) == 0, "an alignment is a power of two")
    let (total, overflow) = byteCount.addingReportingOverflow(alignment)
    precondition(byteCount > 0 && !overflow, "a mapping fits the address space")
    let place = try reserved(byteCount: total, alignment: alignment, rest: rest, keeping: byteCount)
    let (base, fd) = unsafe (place.baseAddress, descriptor.rawValue)
    try kernelCall("mmap", on: "\(byteCount) bytes at offset \(offset) of descriptor \(fd)") {
      unsafe abi_mmap(base, UInt64(byteCount), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset)
    }
    // Only advice, and only needed where the system maps huge pages on demand; without it all still works.
    _ = try? kernelCall("madvise", on: "\(byteCount) bytes") {
      unsafe abi_madvise(base, UInt64(byteCount), MADV_HUGEPAGE)
    }
    return place
  }

  /// Addresses with nothing behind them: `count` bytes that begin at the first place with the rest.
  private static func reserved(
    byteCount: Int, alignment: Int, rest: Int, keeping count: Int
  ) throws(KernelError) -> MappedMemory {
    let address = try kernelCall("mmap", on: "\(byteCount) bytes of addresses") {
      abi_mmap(
        nil, UInt64(byteCount), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    }
    guard let base = unsafe UnsafeMutableRawPointer(bitPattern: Int(address)) else {
      preconditionFailure("mmap without MAP_FIXED never answers address 0")
    }
    let head = (rest - Int(address)) & (alignment - 1)
    // Each piece has an owner at once, so that none stays when giving back another one fails.
    let mapping = unsafe MappedMemory(adopting: base + head, byteCount: count)
    if head > 0 {
      let tail = unsafe MappedMemory(adopting: base + head + count, byteCount: alignment - head)
      try unsafe MappedMemory(adopting: base, byteCount: head).unmap()
      try tail.unmap()
    } else {
      try unsafe MappedMemory(adopting: base + count, byteCount: alignment).unmap()
    }
    return mapping
  }
}
