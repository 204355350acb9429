// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// One mapping of this process's address space (`mmap`), unmapped when its owner goes.
@safe
public struct MappedMemory: ~Copyable, @unchecked Sendable {
  /// Where it begins; page aligned.
  public let baseAddress: UnsafeMutableRawPointer
  /// Its length in bytes; whole pages.
  public let byteCount: Int

  /// Takes over a mapping that `mmap` made.
  @unsafe
  public init(adopting baseAddress: UnsafeMutableRawPointer, byteCount: Int) {
    unsafe self.baseAddress = unsafe baseAddress
    self.byteCount = byteCount
  }

  /// Unmaps and reports what the kernel says.
  public consuming func unmap() throws(KernelError) {
    let (base, count) = unsafe (baseAddress, byteCount)
    discard self
    try kernelRelease("munmap", on: "\(count) bytes") { unsafe abi_munmap(base, UInt64(count)) }
  }

  /// Gives the mapping away: the caller unmaps it.
  @unsafe
  public consuming func relinquish() -> UnsafeMutableRawBufferPointer {
    let bytes = unsafe UnsafeMutableRawBufferPointer(start: baseAddress, count: byteCount)
    discard self
    return unsafe bytes
  }

  deinit { _ = unsafe abi_munmap(baseAddress, UInt64(byteCount)) }
}

extension MappedMemory {
  /// Maps a part of an open file, shared, for reading and writing.
  /// - Parameters:
  ///   - offset: In bytes; page aligned.
  ///   - byteCount: Whole pages.
  /// - Throws: `KernelError` for `mmap`.
  public static func sharing(
    _ descriptor: borrowing OwnedDescriptor, offset: UInt64, byteCount: Int, writable: Bool = true
  ) throws(KernelError) -> MappedMemory {
    let fd = descriptor.rawValue
    let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
    return try mapping("\(byteCount) bytes at offset \(offset) of descriptor \(fd)", byteCount: byteCount) {
      abi_mmap(nil, UInt64(byteCount), protection, MAP_SHARED, fd, offset)
    }
  }

  /// Maps fresh zeroed memory of this process.
  /// - Parameters:
  ///   - byteCount: Whole pages.
  ///   - pageSizeLog2: 0 for the ordinary page size; 21 or 30 for reserved huge pages of that size.
  /// - Throws: `KernelError` for `mmap`: `ENOMEM` where no huge page is free.
  public static func anonymous(byteCount: Int, hugePageSizeLog2 pageSizeLog2: Int = 0) throws(KernelError)
    -> MappedMemory
  {
    var flags = MAP_PRIVATE | MAP_ANONYMOUS
    if pageSizeLog2 != 0 { flags |= MAP_HUGETLB | CInt(pageSizeLog2) << 26 }  // MAP_HUGE_SHIFT
    return try mapping("\(byteCount) bytes of memory", byteCount: byteCount) {
      abi_mmap(nil, UInt64(byteCount), PROT_READ | PROT_WRITE, flags, -1, 0)
    }
  }

  static func mapping(
    _ subject: @autoclosure () -> String, byteCount: Int, _ call: () -> Int64
  ) throws(KernelError) -> MappedMemory {
    precondition(byteCount > 0, "a mapping has at least one byte")
    let address = try kernelCall("mmap", on: subject(), call)
    guard let base = unsafe UnsafeMutableRawPointer(bitPattern: Int(address)) else {
      preconditionFailure("mmap without MAP_FIXED never answers address 0")
    }
    return unsafe MappedMemory(adopting: base, byteCount: byteCount)
  }
}

extension MappedMemory {
  /// Puts the beginning of an open file, shared, in the place of what is mapped here.
  /// - Throws: `KernelError` for `mmap`; the mapping is gone then.
  public consuming func replaced(by descriptor: borrowing OwnedDescriptor) throws(KernelError) -> MappedMemory
  {
    try map(descriptor.rawValue, offset: 0)
    return self
  }

  /// Maps a part of an open file, shared, over all that is mapped here; whoever uses the addresses sees the file
  /// from then on.
  /// - Parameter offset: In bytes; page aligned.
  /// - Throws: `KernelError` for `mmap`; what was mapped here stays then, or is gone.
  public borrowing func map(_ descriptor: CInt, offset: UInt64) throws(KernelError) {
    let (base, count) = unsafe (baseAddress, byteCount)
    try kernelCall("mmap", on: "\(count) bytes at offset \(offset) of descriptor \(descriptor)") {
      unsafe abi_mmap(
        base, UInt64(count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, offset)
    }
  }
}
