// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// The log of the pages that a container's devices may have written, from its start to its end.
///
/// It ends with this value. Of a device that does not track what it writes (all of PCI but some virtual functions with
/// migration) the kernel knows nothing, and takes all that is pinned for dirty, at each question.
/// - Source: `struct vfio_iommu_type1_dirty_bitmap`, include/uapi/linux/vfio.h, Linux 5.8.
public struct DirtyTracking: ~Copyable, Sendable {
  /// The size of a page of the log, in bytes.
  public let pageByteCount: Int
  private let maximumBitmapByteCount: UInt64
  private let log: Log

  /// A log that runs: stopped once.
  private final class Log: Sendable {
    let container: VFIOContainer
    private let isOver = Atomic<Bool>(false)

    init(_ container: VFIOContainer) { self.container = container }

    func stop() throws(KernelError) {
      guard !isOver.exchange(true, ordering: .acquiringAndReleasing) else { return }
      defer { container.endTracking() }
      let fd = container.descriptor
      try kernelRelease("VFIO_IOMMU_DIRTY_PAGES", on: "\(container.label), stop") {
        abi_vfio_iommu_dirty_pages_switch(fd, ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)
      }
    }

    deinit {
      guard !isOver.load(ordering: .acquiring) else { return }
      _ = abi_vfio_iommu_dirty_pages_switch(container.descriptor, ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)
      container.endTracking()
    }
  }

  init(of container: VFIOContainer) throws(KernelError) {
    // The kernel refuses version 1 (EACCES), although it names the capability there too.
    let hasLog = container.mode == .type1v2
    guard hasLog, let facts = try container.info().dirtyLog, facts.pageByteCount > 0 else {
      throw container.unsupported(
        "VFIO_IOMMU_DIRTY_PAGES",
        hasLog
          ? "it takes Linux 5.8"
          : "use --mode type1v2, or the page tables of --mode iommufd, which track by hardware")
    }
    guard container.beginTracking() else {
      throw KernelError(
        operation: "VFIO_IOMMU_DIRTY_PAGES", errno: .resourceBusy, subject: container.label,
        remedy: "a container has one log, which each question empties: share the DirtyTracking that runs")
    }
    let fd = container.descriptor
    do throws(KernelError) {
      try kernelCall("VFIO_IOMMU_DIRTY_PAGES", on: "\(container.label), start") {
        abi_vfio_iommu_dirty_pages_switch(fd, ABI_VFIO_IOMMU_DIRTY_PAGES_FLAG_START)
      }
    } catch {
      container.endTracking()
      throw error
    }
    log = Log(container)
    pageByteCount = facts.pageByteCount
    maximumBitmapByteCount = facts.maximumBitmapByteCount
  }

  /// Takes out which pages of a range were dirtied since the last time.
  ///
  /// The kernel may tell a page more, never one less: from the second question on, Linux 7.3 also names unmapped pages
  /// behind a mapping that does not begin at a multiple of 64 pages from the range's start.
  /// - Parameter range: Whole pages; no mapping may be cut by its ends. What is not mapped is clean.
  /// - Throws: `KernelError` for `VFIO_IOMMU_DIRTY_PAGES`: `EINVAL` for another range, or one beyond the longest
  ///   bitmap (8 TiB of pages of 4 KiB).
  public borrowing func takeDirtyPages(in range: IOVARange) throws(KernelError) -> DirtyBitmap {
    let container = log.container
    let fd = container.descriptor
    return try fillBitmap(of: range, "VFIO_IOMMU_DIRTY_PAGES") { bitmap throws(KernelError) in
      var question = abi_vfio_iommu_type1_dirty_bitmap_get()
      question.iova = range.start.rawValue
      question.size = range.byteCountMinusOne + 1
      question.bitmap = bitmap
      do throws(KernelError) {
        try kernelCall("VFIO_IOMMU_DIRTY_PAGES", on: "\(container.label), \(range)") {
          unsafe abi_vfio_iommu_dirty_pages_get(fd, &question)
        }
      } catch {
        throw error.errno == .invalidArgument
          ? error.advising("ask for whole pages of \(pageByteCount) bytes, and for whole mappings") : error
      }
    }
  }

  /// Takes memory back as `DMAMemory.reclaim()` does, and learns in the same call which pages were dirtied last.
  ///
  /// Between a question and an unmap of their own a device could still write.
  /// - Parameters:
  ///   - memory: Exposed in this container.
  ///   - dirty: Set to the pages, as addresses of the mapping that ended.
  /// - Throws: `KernelError` as `DMAMemory.reclaim()`.
  public borrowing func reclaim(
    _ memory: consuming DMAMemory, dirty: inout DirtyBitmap?
  ) throws(KernelError) -> UnsharedMemory {
    let container = log.container
    precondition(memory.space === container, "memory that is exposed in the container of this log")
    var found: DirtyBitmap?
    defer { dirty = found }
    return try memory.reclaim { range throws(KernelError) in
      found = try fillBitmap(of: range, "VFIO_IOMMU_UNMAP_DMA") { bitmap throws(KernelError) in
        var bitmap = bitmap
        try container.unmap(range, flags: 0, operation: "VFIO_IOMMU_UNMAP_DMA") {
          unsafe abi_vfio_iommu_unmap_dma_dirty($0, &$1, &bitmap)
        }
      }
    }
  }

  /// Stops the log.
  /// - Throws: `KernelError` for `VFIO_IOMMU_DIRTY_PAGES`: `EINVAL` where no group is left in the container.
  public consuming func stop() throws(KernelError) { try log.stop() }

  private borrowing func fillBitmap(
    of range: IOVARange, _ operation: String, _ call: (abi_vfio_bitmap) throws(KernelError) -> Void
  ) throws(KernelError) -> DirtyBitmap {
    let wordCount = DirtyBitmap.wordCount(of: range, pageByteCount: pageByteCount)
    guard UInt64(wordCount) * 8 <= maximumBitmapByteCount else {
      throw KernelError(
        operation: operation, errno: .invalidArgument, subject: "\(log.container.label), \(range)",
        remedy:
          "the bitmap would have \(wordCount * 8) bytes, and the kernel fills \(maximumBitmapByteCount) at "
          + "most: ask for smaller ranges")
    }
    var words = [UInt64](repeating: 0, count: wordCount)
    let pageSize = UInt64(pageByteCount)
    let failure = unsafe words.withUnsafeMutableBytes { bytes -> KernelError? in
      let bitmap = abi_vfio_bitmap(
        pgsize: pageSize, size: UInt64(bytes.count), data: UInt64(UInt(bitPattern: bytes.baseAddress)))
      do throws(KernelError) {
        try call(bitmap)
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw failure }
    return DirtyBitmap(of: range, pageByteCount: pageByteCount, words: words)
  }
}

extension VFIOContainer {
  /// Starts to log which pages devices may have written.
  /// - Throws: `KernelError` for `VFIO_IOMMU_DIRTY_PAGES`: `EOPNOTSUPP` in every mode but type1v2, naming it; `EBUSY`
  ///   while one runs; `ENOMEM` for its bitmaps, one bit for each page that is mapped.
  public func trackDirtyPages() throws(KernelError) -> DirtyTracking { try DirtyTracking(of: self) }
}
