// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DMACore
internal import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// Memory that is kept in place as well as a process can, for devices without an IOMMU.
final class LockedPages: Sendable {
  private struct Entry {
    /// In this process, as a number.
    let start: UInt
    let byteCount: Int
    let bus: IOVA

    func overlaps(_ other: Entry) -> Bool {
      start < other.start + UInt(other.byteCount) && other.start < start + UInt(byteCount)
    }
  }
  private let pageMap: PageMap
  private let entries = Mutex<[IOVARange: Entry]>([:])

  /// - Throws: `KernelError` for `open` of `/proc/self/pagemap`.
  init() throws(KernelError) { pageMap = try PageMap() }

  /// Brings pages into memory, keeps them there, and learns where they are.
  /// - Parameter range: What the address space calls them by.
  /// - Throws: `KernelError` for `mlock`: `ENOMEM` over the limit of locked memory; as ``PageMap``; `EINVAL` for
  ///   pages in several pieces. Nothing stays locked then.
  @unsafe
  func lock(
    _ base: UnsafeMutableRawPointer, for range: IOVARange, in space: String
  ) throws(KernelError) {
    let byteCount = Int(range.byteCountMinusOne + 1)
    do throws(KernelError) {
      try kernelCall("mlock", on: "\(space), \(byteCount) bytes") {
        unsafe abi_mlock(base, UInt64(byteCount))
      }
    } catch {
      throw error.advisingOnMemoryLock(mapping: byteCount)
    }
    do throws(KernelError) {
      let runs = try unsafe pageMap.runs(of: base, byteCount: byteCount)
      let bus = try runs.busAddress(in: "\(space), \(byteCount) bytes")
      let entry = Entry(start: UInt(bitPattern: base), byteCount: byteCount, bus: bus)
      entries.withLock { $0[range] = entry }
    } catch {
      _ = unsafe abi_munlock(base, UInt64(byteCount))
      throw error
    }
  }

  /// The physical address of what is locked by this name; nil where nothing is.
  func busAddress(of range: IOVARange) -> IOVA? { entries.withLock { $0[range]?.bus } }

  /// Lets pages go.
  /// - Throws: `KernelError` `EFAULT` where they lie elsewhere than before: the device may have reached memory of
  ///   others; `EINVAL` for what is not locked; for `munlock`.
  func unlock(_ range: IOVARange, in space: String) throws(KernelError) {
    guard let entry = entries.withLock({ $0[range] }),
      let base = unsafe UnsafeMutableRawPointer(bitPattern: entry.start)
    else {
      throw KernelError(operation: "munlock", errno: .invalidArgument, subject: "\(space), \(range)")
    }
    let runs = try unsafe pageMap.runs(of: base, byteCount: entry.byteCount)
    guard runs.count == 1, IOVA(runs[0].start.rawValue) == entry.bus else {
      throw KernelError(
        operation: "munlock", errno: .badAddress, subject: "\(space), physical address \(entry.bus)",
        remedy:
          "the kernel has moved the pages while a device could write to their old place; use reserved huge "
          + "pages, which compaction leaves alone, or --mode noiommu-cdev, which pins")
    }
    // The kernel does not count locks: pages that another exposure has too stay locked.
    let isShared = entries.withLock { entries in
      entries[range] = nil
      return entries.values.contains { $0.overlaps(entry) }
    }
    guard !isShared else { return }
    try kernelRelease("munlock", on: "\(space), \(entry.byteCount) bytes") {
      unsafe abi_munlock(base, UInt64(entry.byteCount))
    }
  }
}
