// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import DeviceRegisters
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

/// A dma-buf that the devices of an ``IOAS`` reach: one device's registers in another's address space.
///
/// It is no memory of this process, so no ledger counts it and nothing is locked. When the kernel revokes the
/// dma-buf (reset, memory decode off, its device closed) transfers to it are blocked, and **stay blocked**
/// when the registers come back: unmap, and map again. Unmapped when this value goes.
public struct DMABufMapping: ~Copyable, Sendable {
  /// The addresses that devices use.
  public let range: IOVARange
  private let mapped: Mapped

  fileprivate init(_ mapped: Mapped) {
    range = mapped.range
    self.mapped = mapped
  }

  /// The device's address of the first byte.
  public var iova: IOVA { range.start }

  /// Takes it away from the devices.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`; the addresses are then never used again.
  public consuming func unmap() throws(KernelError) { try mapped.end() }
}

/// The fact that a dma-buf is mapped: ended exactly once.
private final class Mapped: Sendable {
  let space: IOAS
  let range: IOVARange
  private let isOver = Atomic<Bool>(false)

  init(_ range: IOVARange, in space: IOAS) {
    self.space = space
    self.range = range
  }

  func end() throws(KernelError) {
    guard !isOver.exchange(true, ordering: .acquiringAndReleasing) else { return }
    do throws(KernelError) {
      try space.unmapPages(range)
    } catch {
      // Gone already where all of the address space was unmapped at once.
      guard error.errno == .noSuchFileOrDirectory else { throw error }
    }
    space.reservations.giveBack(range)
  }

  deinit { _ = try? end() }
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
    let range = try reservations.take(
      at: iova, byteCount: part.byteCount, alignment: granuleByteCount, granule: granuleByteCount,
      upTo: .highest(addressBits: addressBits), in: label)
    var command = abi_iommu_ioas_map_file()
    command.flags = ABI_IOMMU_IOAS_MAP_FIXED_IOVA
    if access.contains(.read) { command.flags |= ABI_IOMMU_IOAS_MAP_READABLE }
    if access.contains(.write) { command.flags |= ABI_IOMMU_IOAS_MAP_WRITEABLE }
    command.ioas_id = id.rawValue
    command.fd = dmaBuf.descriptor.rawValue
    command.start = UInt64(part.ranges[0].lowerBound)
    command.length = UInt64(part.byteCount)
    command.iova = range.start.rawValue
    let fd = context.descriptor
    do throws(KernelError) {
      try kernelCall("IOMMU_IOAS_MAP_FILE", on: "\(label), \(range)") {
        unsafe abi_iommu_ioas_map_file(fd, &command)
      }
    } catch {
      reservations.giveBack(range)
      throw error
    }
    return DMABufMapping(Mapped(range, in: self))
  }
}
