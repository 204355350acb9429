// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

extension MappedMemory {
  /// How much of the memory that reads as all ones exists, to be mapped again and again.
  private static var onesByteCount: Int { 1 << 20 }

  /// Puts memory that reads as all ones in the place of what is mapped here.
  ///
  /// Threads that use the mapping meanwhile see the one or the other. What they write is theirs alone.
  /// - Throws: `KernelError` for `memfd_create` or `mmap`; a part may be replaced then, and the rest can be
  ///   by another call.
  public borrowing func replaceByOnes() throws(KernelError) {
    let chunk = min(byteCount, Self.onesByteCount)
    let ones = OwnedDescriptor(
      adopting: try kernelCall("memfd_create", on: "\(chunk) bytes") {
        unsafe abi_memory_file("swift-vfio-ones", 0xff, UInt64(chunk))
      })
    let (base, fd) = unsafe (baseAddress, ones.rawValue)
    var done = 0
    while done < byteCount {
      let count = min(chunk, byteCount - done)
      try kernelCall("mmap", on: "\(count) bytes") {
        unsafe abi_mmap(
          base + done, UInt64(count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0)
      }
      done += count
    }
  }
}
