// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import DeviceRegisters
public import LinuxHandles

/// A dma-buf that the devices of an ``IOAS`` reach: one device's registers in another's address space.
///
/// It is no memory of this process, so no ledger counts it and nothing is locked. When the kernel revokes the
/// dma-buf (reset, memory decode off, its device closed) transfers to it are blocked, and **stay blocked**
/// when the registers come back: unmap, and map again. Unmapped when this value goes.
public struct DMABufMapping: ~Copyable, Sendable {
  /// The addresses that devices use.
  public let range: IOVARange
  private let mapped: MappedRange

  fileprivate init(_ mapped: MappedRange) {
    range = mapped.range
    self.mapped = mapped
  }

  /// The device's address of the first byte.
  public var iova: IOVA { range.start }

  /// Lets the devices of another address space of the same context reach it too.
  ///
  /// Each mapping ends by itself; a revocation ends both.
  /// - Throws: `KernelError`: as ``IOAS/map(_:_:access:at:addressBits:)``, for `IOMMU_IOAS_COPY`.
  public borrowing func copied(
    to space: IOAS, access: DMAAccess = .readWrite, at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> DMABufMapping {
    DMABufMapping(try mapped.copied(to: space, access: access, at: iova, addressBits: addressBits))
  }

  /// Takes it away from the devices.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`; the addresses are then never used again.
  public consuming func unmap() throws(KernelError) { try mapped.end() }
}

extension IOAS {
  /// Lets the devices of this address space reach what a dma-buf stands for, directly from device to device.
  /// - Parameters:
  ///   - bytes: Of the dma-buf, whole pages; nil for all of it.
  ///   - access: What the *devices* may do.
  ///   - iova: Where; nil lets the library choose.
  ///   - addressBits: How many address bits the devices drive.
  /// - Throws: `KernelError`: `ENOSPC`, `EEXIST`, `EINVAL` as for memory; for `IOMMU_IOAS_MAP_FILE`: `ENODEV` while the
  ///   dma-buf is revoked.
  /// - Source: `struct iommu_ioas_map_file`, include/uapi/linux/iommufd.h.
  public func map(
    _ dmaBuf: borrowing DMABuf, _ bytes: Range<Int>? = nil, access: DMAAccess = .readWrite,
    at iova: IOVA? = nil,
    addressBits: Int = 64
  ) throws(KernelError) -> DMABufMapping {
    let part = try RegisterRanges([bytes ?? 0..<dmaBuf.byteCount], within: dmaBuf.byteCount, of: "dma-buf")
    let (file, start) = (dmaBuf.descriptor.rawValue, UInt64(part.ranges[0].lowerBound))
    return DMABufMapping(
      try MappedRange(
        part.byteCount, in: self, at: iova, addressBits: addressBits
      ) { range throws(KernelError) in
        _ = try mapFile(file, start..<start + UInt64(part.byteCount), at: range.start, access: access)
      })
  }
}
