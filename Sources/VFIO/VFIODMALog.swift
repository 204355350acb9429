// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import Synchronization

/// A device's own log of the pages that it writes, as long as this lives.
///
/// Few devices have it, none of them plain hardware; an IOMMU that tracks them is the other way.
/// - Source: `VFIO_DEVICE_FEATURE_DMA_LOGGING_*`, include/uapi/linux/vfio.h, Linux 6.1.
public struct VFIODMALog: ~Copyable, Sendable {
  /// The size of a page of the log, in bytes: what was asked for, or what the device can do.
  public let pageByteCount: UInt64
  private let lease: VFIODMALogLease

  init(
    of handle: VFIODeviceHandle, subject: String, ranges: [IOVARange], pageByteCount: UInt64
  ) throws(KernelError) {
    let items = ranges.map {
      abi_vfio_device_feature_dma_logging_range(iova: $0.start.rawValue, length: $0.byteCountMinusOne + 1)
    }
    var control = abi_vfio_device_feature_dma_logging_control()
    control.page_size = pageByteCount
    control.num_ranges = UInt32(items.count)
    try unsafe items.span.withUnsafeBytes { bytes throws(KernelError) in
      // SAFETY: the kernel reads the ranges during the call only.
      control.ranges = UInt64(UInt(bitPattern: bytes.baseAddress))
      try handle.set(.dmaLoggingStart, &control, subject: subject)
    }
    lease = VFIODMALogLease(handle, subject)
    self.pageByteCount = control.page_size
  }

  /// The pages of a range that were written since the last report of them.
  /// - Parameter pageByteCount: How large the pages of the answer are; nil for those of the log. A power of two.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `EINVAL` for a size below 4 KiB or no power of two.
  public borrowing func report(
    of range: IOVARange, pageByteCount: UInt64? = nil
  ) throws(KernelError) -> VFIODirtyPages {
    var pages = VFIODirtyPages(range: range, pageByteCount: pageByteCount ?? self.pageByteCount)
    try lease.report(into: &pages)
    return pages
  }

  /// Ends the log.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`.
  public consuming func stop() throws(KernelError) { try lease.end() }
}

/// The pages of a range that were written, one bit each.
public struct VFIODirtyPages: Hashable, Sendable {
  /// Which addresses.
  public let range: IOVARange
  /// The size of a page, in bytes.
  public let pageByteCount: UInt64
  /// Bit `i` of word `i / 64` is page `i` of the range.
  public internal(set) var words: [UInt64]

  /// A range of which nothing was written yet.
  public init(range: IOVARange, pageByteCount: UInt64) {
    precondition(
      pageByteCount > 0 && pageByteCount & (pageByteCount - 1) == 0, "the size of a page is a power of two")
    self.range = range
    self.pageByteCount = pageByteCount
    words = [UInt64](repeating: 0, count: Int(range.byteCountMinusOne / pageByteCount / 64) + 1)
  }

  /// As the other one, with bits that are here already; words that are missing say that nothing was written.
  public init(range: IOVARange, pageByteCount: UInt64, words: [UInt64]) {
    self.init(range: range, pageByteCount: pageByteCount)
    for index in self.words.indices where index < words.count { self.words[index] = words[index] }
  }

  /// The first addresses of the pages that were written, in order.
  public var dirtyPages: [IOVA] {
    let count = range.byteCountMinusOne / pageByteCount + 1
    return words.enumerated().flatMap { index, word in
      (0..<64).compactMap { bit in
        let page = UInt64(index) * 64 + UInt64(bit)
        guard word >> UInt64(bit) & 1 == 1, page < count else { return nil }
        return IOVA(range.start.rawValue + page * pageByteCount)
      }
    }
  }
}

extension VFIOMigration {
  /// Lets the device log which pages of some ranges it writes.
  /// - Parameters:
  ///   - ranges: Aligned to the pages, not overlapping; at most 256.
  ///   - pageByteCount: The page size that is wished for; the log says which it has.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `ENOTTY` where the device has no log, `EINVAL` for ranges
  ///   that are not aligned or overlap, `E2BIG` for too many.
  public func startDMALog(
    of ranges: [IOVARange], pageByteCount: UInt64 = 4096
  ) throws(KernelError) -> VFIODMALog {
    try VFIODMALog(of: handle, subject: subject, ranges: ranges, pageByteCount: pageByteCount)
  }
}

/// The one end of a log, by call or by `deinit`.
final class VFIODMALogLease: Sendable {
  private let handle: VFIODeviceHandle
  private let subject: String
  private let isOver = Atomic<Bool>(false)

  init(_ handle: VFIODeviceHandle, _ subject: String) {
    self.handle = handle
    self.subject = subject
  }

  func report(into pages: inout VFIODirtyPages) throws(KernelError) {
    var command = abi_vfio_device_feature_dma_logging_report()
    command.iova = pages.range.start.rawValue
    command.length = pages.range.byteCountMinusOne + 1
    command.page_size = pages.pageByteCount
    var words = pages.words.mutableSpan
    try unsafe words.withUnsafeMutableBytes { bytes throws(KernelError) in
      // SAFETY: one bit for each page of the range; the kernel writes during the call only.
      command.bitmap = UInt64(UInt(bitPattern: bytes.baseAddress))
      try handle.get(.dmaLoggingReport, &command, subject: subject)
    }
  }

  func end() throws(KernelError) {
    guard !isOver.exchange(true, ordering: .relaxed) else { return }
    let fd = handle.descriptor
    try kernelRelease("VFIO_DEVICE_FEATURE", on: "\(subject), DMA logging stop") {
      abi_vfio_device_feature(
        fd, ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, ABI_VFIO_DEVICE_FEATURE_SET, nil, 0)
    }
  }

  deinit { _ = try? end() }
}
