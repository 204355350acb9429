// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DMACore
internal import LinuxHandles

/// The memory of a domain: one file, this process's mapping of it, and the table of what is mapped there.
///
/// The domain holds it, and each window that was lent.
@usableFromInline
final class IOTLBMemory: Sendable {
  let layout: IOTLBLayout
  let file: IOTLBFile
  private let mapping: MappedMemory
  private let words: MappedMemory
  let table: SlotTable

  /// - Throws: `KernelError`: `EINVAL` for a layout that is none; for `memfd_create`, `ftruncate`, `fcntl`, `mmap` or
  ///   `madvise`.
  init(_ layout: IOTLBLayout, named name: String) throws(KernelError) {
    let byteCount = try layout.checkedByteCount()
    let tableByteCount = SlotTable.byteCount(for: byteCount)
    self.layout = layout
    file = try IOTLBFile(named: name, byteCount: byteCount)
    mapping = try file.mapping(at: 0, byteCount: byteCount)
    words = try MappedMemory.anonymous(byteCount: tableByteCount)
    table = unsafe SlotTable(
      words: words.baseAddress, byteCount: tableByteCount, file: mapping.baseAddress)
  }

  /// Gives pages of the file back to the kernel; they read as zero from then on.
  func empty(_ range: IOVARange) {
    let base = unsafe table.place(range.start)
    let count = Int(range.byteCountMinusOne) + 1
    do throws(KernelError) {
      try kernelCall("madvise", on: "\(count) bytes, MADV_REMOVE") {
        unsafe abi_madvise(base, UInt64(count), MADV_REMOVE)
      }
    } catch {
      // The pages stay ours then; what matters is that they hold nothing.
      unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    }
  }
}
