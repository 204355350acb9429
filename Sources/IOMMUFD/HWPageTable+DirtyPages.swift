// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

extension HWPageTable {
  /// A bitmap of so many pages has a gigabyte; the kernel itself sets no limit.
  private static var maximumLog2PageCount: UInt64 { 33 }

  /// Starts or stops to track what devices write; starting forgets what was dirty.
  /// - Throws: `KernelError` for `IOMMU_HWPT_SET_DIRTY_TRACKING`: `EOPNOTSUPP` for a table without the option
  ///   ``Options/dirtyTracking``, `ENOENT` for a closed or a nested one.
  /// - Source: `struct iommu_hwpt_set_dirty_tracking`, include/uapi/linux/iommufd.h, Linux 6.7.
  public func setDirtyTracking(_ isOn: Bool) throws(KernelError) {
    try object.use("IOMMU_HWPT_SET_DIRTY_TRACKING") { id throws(KernelError) in
      let fd = context.descriptor
      try iommufdCall("IOMMU_HWPT_SET_DIRTY_TRACKING", since: "6.7", on: object.subject) {
        abi_iommu_hwpt_set_dirty_tracking(fd, id, isOn ? ABI_IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0)
      }
    }
  }

  /// Asks which pages of a range devices wrote since tracking began, or since they were taken last.
  ///
  /// The answer's elements are the dirty ranges.
  /// - Parameters:
  ///   - range: Whole pages.
  ///   - pageByteCount: What one bit stands for; a power of two, and any: a page is dirty where a part of it is.
  ///   - isTaking: Whether they are clean afterwards. Without it the call is cheaper; right before an unmap, where
  ///     nobody asks again.
  /// - Throws: `KernelError` for `IOMMU_HWPT_GET_DIRTY_BITMAP`: `ENOMEM` for more than 2^33 pages, whose bitmap would take
  ///   a gigabyte; from the kernel `EINVAL` for parts of pages, `EOPNOTSUPP` for a table that
  ///   tracks nothing, `ENOENT` for a closed one.
  /// - Source: `struct iommu_hwpt_get_dirty_bitmap`, include/uapi/linux/iommufd.h, Linux 6.7.
  public func dirtyPages(
    in range: IOVARange, pageByteCount: Int = MemoryPageSize.standard.byteCount, taking isTaking: Bool = true
  ) throws(KernelError) -> DirtyBitmap {
    precondition(
      pageByteCount > 0 && pageByteCount & (pageByteCount - 1) == 0, "a page's size is a power of two")
    let pageCount = range.byteCountMinusOne / UInt64(pageByteCount)
    guard pageCount >> Self.maximumLog2PageCount == 0 else {
      throw KernelError(
        operation: "IOMMU_HWPT_GET_DIRTY_BITMAP", errno: .noMemory, subject: "\(object.subject), \(range)",
        remedy: "the bitmap would have \(pageCount / 8) bytes: ask for smaller ranges, or larger pages")
    }
    let wordCount = DirtyBitmap.wordCount(of: range, pageByteCount: pageByteCount)
    var words = [UInt64](repeating: 0, count: wordCount)
    try object.use("IOMMU_HWPT_GET_DIRTY_BITMAP") { id throws(KernelError) in
      var command = abi_iommu_hwpt_get_dirty_bitmap()
      command.hwpt_id = id
      command.flags = isTaking ? 0 : ABI_IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR
      command.iova = range.start.rawValue
      command.length = range.byteCountMinusOne &+ 1
      command.page_size = UInt64(pageByteCount)
      let fd = context.descriptor
      try iommufdCall("IOMMU_HWPT_GET_DIRTY_BITMAP", since: "6.7", on: "\(object.subject), \(range)") {
        unsafe abi_iommu_hwpt_get_dirty_bitmap(fd, &command, &words)
      }
    }
    return DirtyBitmap(of: range, pageByteCount: pageByteCount, words: words)
  }
}
