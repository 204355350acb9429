// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// Where pages of this process lie in physical memory: `/proc/self/pagemap`.
///
/// An answer holds for the moment only, unless something pins the pages.
/// - Source: Documentation/admin-guide/mm/pagemap.rst, Linux 2.6.25; addresses need CAP_SYS_ADMIN since 4.2.
public struct PageMap: ~Copyable, Sendable {
  private static let path = "/proc/self/pagemap"
  private let file: OwnedDescriptor

  /// Opens the table of this process.
  /// - Throws: `KernelError` for `open`: `ENOENT` without CONFIG_PROC_PAGE_MONITOR.
  public init() throws(KernelError) { file = try OwnedDescriptor.open(Self.path, for: .read) }

  /// The pieces that bytes of this process lie in, in their order.
  /// - Parameter base: Page aligned; only its number is used.
  /// - Throws: `KernelError` for `pread`: `EPERM` where the kernel hides addresses, `EFAULT` for a page that is
  ///   not in memory.
  @unsafe
  public borrowing func runs(
    of base: UnsafeRawPointer, byteCount: Int
  ) throws(KernelError) -> [PhysicalRun] {
    let unit = MemoryPageSize.standard.byteCount
    let first = UInt64(UInt(bitPattern: base)) / UInt64(unit)
    let pageCount = (byteCount + unit - 1) / unit
    precondition(byteCount > 0, "at least one byte")
    let fd = file.rawValue
    var entries = [UInt64](repeating: 0, count: min(pageCount, 4096))
    var runs: [PhysicalRun] = []
    var page = 0
    while page < pageCount {
      let wanted = min(pageCount - page, entries.count)
      let place = (first + UInt64(page)) * 8
      let count = try kernelCall("pread", on: Self.path) {
        unsafe entries.withUnsafeMutableBytes {
          unsafe abi_pread(fd, $0.baseAddress, UInt64(wanted * 8), place)
        }
      }
      guard count == Int64(wanted * 8) else {
        throw KernelError(operation: "pread", errno: .ioError, subject: Self.path)
      }
      for entry in entries.prefix(wanted) {
        runs.append(PhysicalAddress(try Self.frame(of: entry) * UInt64(unit)), byteCount: unit)
      }
      page += wanted
    }
    return runs
  }

  /// The number of a frame.
  ///
  /// Bit 63 of an entry: present. Bits 0 to 54: the number, or 0 where it is hidden.
  private static func frame(of entry: UInt64) throws(KernelError) -> UInt64 {
    guard entry >> 63 == 1 else {
      throw KernelError(
        operation: "pread", errno: .badAddress, subject: path,
        remedy: "a page is not in memory; touch it or lock it first")
    }
    let frame = entry & ((1 << 55) - 1)
    guard frame != 0 else {
      throw KernelError(
        operation: "pread", errno: .notPermitted, subject: path,
        remedy: "the kernel shows physical addresses only to CAP_SYS_ADMIN: run as root")
    }
    return frame
  }
}
