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
  public let pageByteCount: Int
  private let lease: VFIODMALogLease

  init(
    of handle: VFIODeviceHandle, subject: String, ranges: [IOVARange], pageByteCount: Int
  ) throws(KernelError) {
    let items = ranges.map {
      abi_vfio_device_feature_dma_logging_range(iova: $0.start.rawValue, length: $0.byteCountMinusOne + 1)
    }
    var control = abi_vfio_device_feature_dma_logging_control()
    control.page_size = UInt64(pageByteCount)
    control.num_ranges = UInt32(items.count)
    try unsafe items.span.withUnsafeBytes { bytes throws(KernelError) in
      // SAFETY: the kernel reads the ranges during the call only.
      control.ranges = UInt64(UInt(bitPattern: bytes.baseAddress))
      try handle.set(.dmaLoggingStart, &control, subject: subject)
    }
    lease = VFIODMALogLease(handle, subject)
    self.pageByteCount = Int(clamping: control.page_size)
  }

  /// The pages of a range that were written since the last report of them.
  /// - Parameter pageByteCount: How large the pages of the answer are; nil for those of the log. A power of two.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `EINVAL` for a size below 4 KiB or no power of two.
  public borrowing func report(
    of range: IOVARange, pageByteCount: Int? = nil
  ) throws(KernelError) -> DirtyBitmap {
    try lease.report(of: range, pageByteCount: pageByteCount ?? self.pageByteCount)
  }

  /// Ends the log.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`.
  public consuming func stop() throws(KernelError) { try lease.end() }
}

extension VFIOMigration {
  /// Lets the device log which pages of some ranges it writes.
  /// - Parameters:
  ///   - ranges: Aligned to the pages, not overlapping; at most 256.
  ///   - pageByteCount: The page size that is wished for; the log says which it has.
  /// - Throws: `KernelError` for `VFIO_DEVICE_FEATURE`: `ENOTTY` where the device has no log, `EINVAL` for ranges
  ///   that are not aligned or overlap, `E2BIG` for too many.
  public func startDMALog(
    of ranges: [IOVARange], pageByteCount: Int = 4096
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

  func report(of range: IOVARange, pageByteCount: Int) throws(KernelError) -> DirtyBitmap {
    var command = abi_vfio_device_feature_dma_logging_report()
    command.iova = range.start.rawValue
    command.length = range.byteCountMinusOne + 1
    command.page_size = UInt64(pageByteCount)
    var words = [UInt64](
      repeating: 0, count: DirtyBitmap.wordCount(of: range, pageByteCount: pageByteCount))
    var span = words.mutableSpan
    try unsafe span.withUnsafeMutableBytes { bytes throws(KernelError) in
      // SAFETY: one bit for each page of the range; the kernel writes during the call only.
      command.bitmap = UInt64(UInt(bitPattern: bytes.baseAddress))
      try handle.get(.dmaLoggingReport, &command, subject: subject)
    }
    return DirtyBitmap(of: range, pageByteCount: pageByteCount, words: words)
  }

  func end() throws(KernelError) {
    guard !isOver.exchange(true, ordering: .relaxed) else { return }
    try handle.release("VFIO_DEVICE_FEATURE", on: "\(subject), DMA logging stop") {
      abi_vfio_device_feature(
        $0, ABI_VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, ABI_VFIO_DEVICE_FEATURE_SET, nil, 0)
    }
  }

  deinit { _ = try? end() }
}
