// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import SystemPackage

/// What a file asks of reads and writes that go past the page cache (`O_DIRECT`).
public struct DirectAlignment: Hashable, Sendable {
  /// What addresses in memory are multiples of, in bytes: a power of two.
  public let memory: Int
  /// What offsets in the file, and lengths, are multiples of, in bytes: a power of two.
  public let offset: Int

  /// Creates one from its numbers.
  public init(memory: Int, offset: Int) {
    precondition(
      memory > 0 && memory & (memory - 1) == 0 && offset > 0 && offset & (offset - 1) == 0,
      "an alignment is a power of two")
    self.memory = memory
    self.offset = offset
  }

  /// Enough for every file system whose blocks are no larger than a page.
  public static let page = DirectAlignment(memory: 4096, offset: 4096)
}

extension OwnedDescriptor {
  /// Opens an existing file or block device for reads and writes that go past the page cache.
  ///
  /// These take whole blocks alone: see ``DirectAlignment/init(of:)``.
  /// - Throws: `KernelError` for `open`: `EINVAL` where the file system has no direct I/O.
  public static func openDirect(
    _ path: String, for access: FileAccess
  ) throws(KernelError) -> OwnedDescriptor {
    do throws(KernelError) {
      return OwnedDescriptor(
        adopting: try kernelCall("open", on: path) {
          unsafe path.withCString { unsafe abi_open_direct($0, access.flags) }
        })
    } catch {
      throw error.errno == .invalidArgument ? error.advising(DirectAlignment.remedy) : error
    }
  }
}

extension DirectAlignment {
  static var remedy: String { "its file system has no direct I/O (O_DIRECT)" }

  /// Asks what an open file needs.
  ///
  /// ``page`` where the file system does not tell, as most did not before Linux 6.1.
  /// - Throws: `KernelError` for `statx`; `EINVAL` where the file has no direct I/O, though it may be opened for it.
  /// - Source: `STATX_DIOALIGN`, include/uapi/linux/stat.h, Linux 6.1.
  public init(of file: borrowing OwnedDescriptor) throws(KernelError) {
    let fd = file.rawValue
    var facts = abi_statx()
    try kernelCall("statx", on: "descriptor \(fd)") { unsafe abi_statx(fd, ABI_STATX_DIOALIGN, &facts) }
    let (memory, offset) = (Int(facts.stx_dio_mem_align), Int(facts.stx_dio_offset_align))
    guard facts.stx_mask & ABI_STATX_DIOALIGN != 0 else {
      self = .page
      return
    }
    guard offset > 0, memory > 0 else {
      throw KernelError(
        operation: "statx", errno: .invalidArgument, subject: "descriptor \(fd)", remedy: Self.remedy)
    }
    self.init(memory: memory, offset: offset)
  }
}
