// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// One open file descriptor with one owner, closed on exec.
public struct OwnedDescriptor: ~Copyable, Sendable {
  /// The number, for calls that borrow it.
  ///
  /// It stays this value's to close.
  public let rawValue: CInt

  /// Takes over an open descriptor; whoever had it must not close it any more.
  public init(adopting rawValue: CInt) {
    precondition(rawValue >= 0, "OwnedDescriptor adopts an open descriptor")
    self.rawValue = rawValue
  }

  /// Closes the descriptor and reports what the kernel says.
  /// - Throws: `KernelError` for `close`; the descriptor is released all the same.
  public consuming func close() throws(KernelError) {
    let fd = rawValue
    discard self
    try kernelRelease("close", on: "descriptor \(fd)") { abi_close(fd) }
  }

  /// Gives the descriptor away: the caller closes it.
  public consuming func relinquish() -> CInt {
    let fd = rawValue
    discard self
    return fd
  }

  /// A second descriptor of the same open file.
  /// - Throws: `KernelError` for `dup`: `EMFILE` at the process's limit.
  public borrowing func duplicate() throws(KernelError) -> OwnedDescriptor {
    let fd = rawValue
    return OwnedDescriptor(adopting: try kernelCall("dup", on: "descriptor \(fd)") { abi_dup(fd) })
  }

  /// A second descriptor of an open file whose descriptor somebody else owns.
  /// - Throws: `KernelError` for `dup`: `EBADF` where it is not open, `EMFILE`.
  public static func duplicating(_ fd: CInt) throws(KernelError) -> OwnedDescriptor {
    OwnedDescriptor(adopting: try kernelCall("dup", on: "descriptor \(fd)") { abi_dup(fd) })
  }

  deinit { _ = abi_close(rawValue) }
}

/// How a file is opened.
public enum FileAccess: Sendable {
  /// For reading.
  case read
  /// For writing.
  case write
  /// For both.
  case readWrite

  var flags: CInt {
    switch self {
    case .read: O_RDONLY
    case .write: O_WRONLY
    case .readWrite: O_RDWR
    }
  }
}

extension OwnedDescriptor {
  /// Opens an existing file or device node.
  /// - Throws: `KernelError` for `open`, with the path as subject.
  public static func open(_ path: String, for access: FileAccess) throws(KernelError) -> OwnedDescriptor {
    OwnedDescriptor(
      adopting: try kernelCall("open", on: path) {
        unsafe path.withCString { unsafe abi_open($0, access.flags) }
      })
  }

  /// Reads up to `span`'s length of bytes at an offset of the file.
  /// - Returns: The number of bytes read; 0 at the end.
  public borrowing func read(
    into span: inout MutableRawSpan, atFileOffset offset: UInt64
  ) throws(KernelError) -> Int {
    let fd = rawValue
    return Int(
      try kernelCall("pread", on: "descriptor \(fd)") {
        unsafe span.withUnsafeMutableBytes { bytes in
          unsafe abi_pread(fd, bytes.baseAddress, UInt64(bytes.count), offset)
        }
      })
  }

  /// Writes the bytes of `span` at an offset of the file.
  /// - Returns: The number of bytes written.
  public borrowing func write(_ span: RawSpan, atFileOffset offset: UInt64) throws(KernelError) -> Int {
    let fd = rawValue
    return Int(
      try kernelCall("pwrite", on: "descriptor \(fd)") {
        unsafe span.withUnsafeBytes { bytes in
          unsafe abi_pwrite(fd, bytes.baseAddress, UInt64(bytes.count), offset)
        }
      })
  }
}
