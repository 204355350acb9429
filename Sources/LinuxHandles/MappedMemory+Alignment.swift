// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

extension MappedMemory {
  /// Maps fresh zeroed memory of this process that begins at a multiple of an alignment.
  /// - Parameters:
  ///   - byteCount: Whole pages.
  ///   - alignment: A power of two, in bytes; at least the page size.
  /// - Throws: `KernelError` for `mmap`, or for `munmap` of what the alignment left over.
  public static func anonymous(byteCount: Int, alignment: Int) throws(KernelError) -> MappedMemory {
    try aligned(byteCount, alignment, rest: 0) { total throws(KernelError) in
      try anonymous(byteCount: total)
    }
  }

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
    let place = try aligned(byteCount, alignment, rest: rest) { total throws(KernelError) in
      try mapping("\(total) bytes of addresses", byteCount: total) {
        abi_mmap(nil, UInt64(total), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
      }
    }
    try place.map(descriptor.rawValue, offset: offset)
    // Only advice, and only needed where the system maps huge pages on demand; without it all still works.
    let base = unsafe place.baseAddress
    _ = try? kernelCall("madvise", on: "\(byteCount) bytes") {
      unsafe abi_madvise(base, UInt64(byteCount), MADV_HUGEPAGE)
    }
    return place
  }

  /// Makes a mapping that is an alignment longer than wanted, and keeps of it what begins at the first place with
  /// the rest.
  private static func aligned(
    _ byteCount: Int, _ alignment: Int, rest: Int,
    _ map: (_ total: Int) throws(KernelError) -> MappedMemory
  ) throws(KernelError) -> MappedMemory {
    precondition(alignment > 0 && alignment & (alignment - 1) == 0, "an alignment is a power of two")
    let (total, overflow) = byteCount.addingReportingOverflow(alignment)
    precondition(byteCount > 0 && !overflow, "a mapping fits the address space")
    let all = try unsafe map(total).relinquish()
    // SAFETY: a mapping has a first byte.
    let base = unsafe all.baseAddress.unsafelyUnwrapped
    let head = (rest - Int(bitPattern: base)) & (alignment - 1)
    let mapping = unsafe MappedMemory(adopting: base + head, byteCount: byteCount)
    // Each piece has an owner at once, so that none stays when giving back another one fails.
    let tail = unsafe MappedMemory(adopting: base + head + byteCount, byteCount: alignment - head)
    if head > 0 { try unsafe MappedMemory(adopting: base, byteCount: head).unmap() }
    try tail.unmap()
    return mapping
  }
}
