// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import SystemPackage

/// Pieces of memory that one call reads into or writes from, in order (`iovec`): bytes go straight between a file and where
/// they belong.
@safe
public struct MemoryParts: ~Copyable {
  private let parts: UnsafeMutablePointer<iovec>
  private let capacity: Int
  private var first = 0
  private var end = 0
  /// The length of all of them together.
  public private(set) var byteCount = 0

  /// Makes an empty list.
  /// - Parameter capacity: How many pieces it can have.
  public init(capacity: Int) {
    self.capacity = capacity
    unsafe parts = .allocate(capacity: max(capacity, 1))
  }

  deinit { unsafe parts.deallocate() }

  /// Adds a piece.
  /// - Parameter bytes: Mapped as long as this list is used.
  /// - Returns: False where there is no room.
  @unsafe
  public mutating func append(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
    guard end < capacity else { return false }
    unsafe (parts + end).initialize(to: iovec(iov_base: bytes.baseAddress, iov_len: bytes.count))
    end += 1
    byteCount += bytes.count
    return true
  }

  /// Whether each piece begins at a multiple of one number and has a multiple of another as its length.
  ///
  /// - Parameters:
  ///   - address: A power of two, in bytes.
  ///   - length: A power of two, in bytes.
  public func areMultiples(ofAddress address: Int, length: Int) -> Bool {
    for index in first..<end {
      let part = unsafe parts[index]
      guard unsafe Int(bitPattern: part.iov_base) & (address - 1) == 0,
        unsafe Int(part.iov_len) & (length - 1) == 0
      else { return false }
    }
    return true
  }

  /// Copies the first bytes out, and leaves them out of the list.
  ///
  /// - Parameter bytes: At most as many as all pieces have.
  public mutating func takeFirst(into bytes: UnsafeMutableRawBufferPointer) {
    unsafe exchange(bytes) { unsafe $1.copyMemory(from: UnsafeRawBufferPointer($0)) }
  }

  /// Overwrites the first bytes, and leaves them out of the list.
  ///
  /// - Parameter bytes: At most as many as all pieces have.
  public mutating func fillFirst(from bytes: UnsafeMutableRawBufferPointer) {
    unsafe exchange(bytes) { unsafe $0.copyMemory(from: UnsafeRawBufferPointer($1)) }
  }

  /// Hands each piece of the list to `copy` with its part of `bytes`.
  private mutating func exchange(
    _ bytes: UnsafeMutableRawBufferPointer,
    _ copy: (_ piece: UnsafeMutableRawBufferPointer, _ bytes: UnsafeMutableRawBufferPointer) -> Void
  ) {
    precondition(bytes.count <= byteCount, "no more bytes than the pieces have")
    var place = 0
    while place < bytes.count {
      let part = unsafe parts[first]
      let count = min(unsafe Int(part.iov_len), bytes.count - place)
      unsafe copy(
        UnsafeMutableRawBufferPointer(start: part.iov_base, count: count),
        UnsafeMutableRawBufferPointer(rebasing: bytes[place..<place + count]))
      removeFirst(count)
      place += count
    }
  }

  /// Leaves out what is done.
  fileprivate mutating func removeFirst(_ count: Int) {
    byteCount -= count
    var rest = count
    while rest > 0 {
      let length = unsafe parts[first].iov_len
      if rest < length {
        unsafe parts[first].iov_base += rest
        unsafe parts[first].iov_len -= rest
        return
      }
      rest -= length
      first += 1
    }
  }

  // As many as the kernel takes in one call (IOV_MAX).
  fileprivate var remaining: (UnsafePointer<iovec>, UInt64) {
    unsafe (UnsafePointer(parts + first), UInt64(min(end - first, 1024)))
  }
}

extension OwnedDescriptor {
  /// Fills all pieces with what is at an offset of the file.
  /// - Throws: `KernelError` for `preadv`; `ENODATA` where the file ends before. What was read so far is there.
  public borrowing func read(into parts: inout MemoryParts, atFileOffset offset: UInt64) throws(KernelError) {
    let fd = rawValue
    var place = offset
    while parts.byteCount > 0 {
      let count = try kernelCall("preadv", on: "descriptor \(fd)") {
        let (list, length) = unsafe parts.remaining
        return unsafe abi_preadv(fd, list, length, place)
      }
      guard count > 0 else {
        throw KernelError(operation: "preadv", errno: .noData, subject: "descriptor \(fd), at its end")
      }
      parts.removeFirst(Int(count))
      place += UInt64(count)
    }
  }

  /// Writes all pieces at an offset of the file.
  /// - Throws: `KernelError` for `pwritev`: `ENOSPC`, `EIO`, `EFBIG`. What was written so far stays.
  public borrowing func write(_ parts: inout MemoryParts, atFileOffset offset: UInt64) throws(KernelError) {
    let fd = rawValue
    var place = offset
    while parts.byteCount > 0 {
      let count = try kernelCall("pwritev", on: "descriptor \(fd)") {
        let (list, length) = unsafe parts.remaining
        return unsafe abi_pwritev(fd, list, length, place)
      }
      parts.removeFirst(Int(count))
      place += UInt64(count)
    }
  }

  /// The length of the file, or of a block device.
  /// - Throws: `KernelError` for `lseek`.
  public var byteCount: UInt64 {
    get throws(KernelError) {
      let fd = rawValue
      return UInt64(try kernelCall("lseek", on: "descriptor \(fd)") { abi_file_size(fd) })
    }
  }

  /// Waits until all that was written has reached the medium.
  /// - Throws: `KernelError` for `fdatasync`: `EIO`, `ENOSPC`.
  public borrowing func synchronizeData() throws(KernelError) {
    let fd = rawValue
    try kernelCall("fdatasync", on: "descriptor \(fd)") { abi_fdatasync(fd) }
  }

  /// Gives the storage of a range back: its bytes read as zeroes.
  /// - Throws: `KernelError` for `fallocate`: `EOPNOTSUPP` where the file system cannot.
  public borrowing func deallocate(atFileOffset offset: UInt64, byteCount: UInt64) throws(KernelError) {
    let fd = rawValue
    try kernelCall("fallocate", on: "descriptor \(fd)") { abi_punch_hole(fd, offset, byteCount) }
  }

  /// Makes a range zeroes, and keeps its storage.
  /// - Throws: `KernelError` for `fallocate`: `EOPNOTSUPP` where the file system cannot.
  public borrowing func zero(atFileOffset offset: UInt64, byteCount: UInt64) throws(KernelError) {
    let fd = rawValue
    try kernelCall("fallocate", on: "descriptor \(fd)") { abi_zero_range(fd, offset, byteCount) }
  }
}
