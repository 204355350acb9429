// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import LinuxHandles
internal import SystemPackage

// The kernel's own calls, as they are. What they map is in no ledger and takes none of `reservations`: addresses,
// lifetimes and ends are the caller's. For memory of this process there is `expose`, for files and dma-bufs `map`.
extension IOAS {
  /// Maps bytes of this process, and notes it nowhere.
  ///
  /// Any bytes: the kernel asks only that address, place and length be multiples of ``UsableAddresses/alignment``,
  /// which is 1 without devices. Whatever page they lie on is reached as a whole.
  /// - Parameters:
  ///   - bytes: They must stay what they are until they are unmapped.
  ///   - iova: Where; nil lets the kernel choose, inside the ranges of ``allow(_:)`` where there are such.
  ///   - access: What the *devices* may do.
  /// - Returns: Where they are, to be given to ``unmapBytes(_:)``.
  /// - Throws: `KernelError` for `IOMMU_IOAS_MAP`: `EEXIST` an address is mapped, `EINVAL` reserved or misaligned, or
  ///   no access; `ENOSPC` the kernel finds no place, `EFAULT` no memory there, `ENOMEM` over the limit of locked
  ///   memory, `EOVERFLOW` past the end of 64 bits.
  /// - Source: `struct iommu_ioas_map`, include/uapi/linux/iommufd.h, Linux 6.2.
  @unsafe
  public func mapBytes(
    _ bytes: UnsafeRawBufferPointer, at iova: IOVA? = nil, access: DMAAccess
  ) throws(KernelError) -> IOVARange {
    var command = abi_iommu_ioas_map()
    command.flags = access.mapFlags(at: iova)
    command.ioas_id = id.rawValue
    command.user_va = UInt64(UInt(bitPattern: bytes.baseAddress))
    command.length = UInt64(bytes.count)
    command.iova = iova?.rawValue ?? 0
    let fd = context.descriptor
    do throws(KernelError) {
      try kernelCall("IOMMU_IOAS_MAP") { unsafe abi_iommu_ioas_map(fd, &command) }
    } catch {
      throw error.on("\(label), \(bytes.count) bytes at \(iova?.description ?? "any")")
        .advisingOnMemoryLock(mapping: bytes.count)
    }
    return try checkedRange(command.iova, command.length, "IOMMU_IOAS_MAP")
  }

  /// Maps bytes of a memory file or a dma-buf, and notes it nowhere; see ``mapBytes(_:at:access:)``.
  /// - Parameter bytes: Of the file.
  /// - Throws: `KernelError` for `IOMMU_IOAS_MAP_FILE`, as for memory; `EINVAL` beyond the file's end, `ENODEV` for a
  ///   dma-buf that is revoked, `EBADF`.
  /// - Source: `struct iommu_ioas_map_file`, include/uapi/linux/iommufd.h.
  public func mapBytes(
    of file: borrowing OwnedDescriptor, _ bytes: Range<UInt64>, at iova: IOVA? = nil, access: DMAAccess
  ) throws(KernelError) -> IOVARange {
    try mapFile(file.rawValue, bytes, at: iova, access: access)
  }

  func mapFile(
    _ file: CInt, _ bytes: Range<UInt64>, at iova: IOVA?, access: DMAAccess
  ) throws(KernelError) -> IOVARange {
    var command = abi_iommu_ioas_map_file()
    command.flags = access.mapFlags(at: iova)
    command.ioas_id = id.rawValue
    command.fd = file
    command.start = bytes.lowerBound
    command.length = UInt64(bytes.count)
    command.iova = iova?.rawValue ?? 0
    let fd = context.descriptor
    do throws(KernelError) {
      try kernelCall("IOMMU_IOAS_MAP_FILE", on: "\(label), bytes \(bytes) of fd \(file)") {
        unsafe abi_iommu_ioas_map_file(fd, &command)
      }
    } catch {
      throw error.advisingOnMemoryLock(mapping: bytes.count)
    }
    return try checkedRange(command.iova, command.length, "IOMMU_IOAS_MAP_FILE")
  }

  /// Maps what another address space has mapped, and notes it nowhere; the kernel pins nothing again.
  /// - Parameters:
  ///   - range: Of the other one; a part of what is mapped there, or several mappings side by side.
  ///   - source: In the same context. This one is allowed.
  ///   - iova: Where; nil lets the kernel choose.
  ///   - access: What the *devices* of this one may do.
  /// - Throws: `KernelError` for `IOMMU_IOAS_COPY`: `ENOENT` where a part of the range is not mapped, `EPERM` for
  ///   writing to what was mapped for reading; else as ``mapBytes(_:at:access:)``.
  /// - Source: `struct iommu_ioas_copy`, include/uapi/linux/iommufd.h, Linux 6.2.
  public func copyMapping(
    of range: IOVARange, from source: IOAS, at iova: IOVA? = nil, access: DMAAccess
  ) throws(KernelError) -> IOVARange {
    guard source.context === context else {
      throw KernelError(
        operation: "IOMMU_IOAS_COPY", errno: .invalidArgument, subject: "\(source.label) to \(label)",
        remedy: "only address spaces of one context share their pins; map the memory in the other one")
    }
    var command = abi_iommu_ioas_copy()
    command.flags = access.mapFlags(at: iova)
    command.dst_ioas_id = id.rawValue
    command.src_ioas_id = source.id.rawValue
    command.length = range.byteCountMinusOne &+ 1
    command.dst_iova = iova?.rawValue ?? 0
    command.src_iova = range.start.rawValue
    let fd = context.descriptor
    try kernelCall("IOMMU_IOAS_COPY", on: "\(range) of \(source.label) to \(label)") {
      unsafe abi_iommu_ioas_copy(fd, &command)
    }
    return try checkedRange(command.dst_iova, command.length, "IOMMU_IOAS_COPY")
  }

  /// Unmaps all that lies in a range, whatever mapped it.
  ///
  /// What memory exposed here loses by it, its owner does not learn: ``AddressSpace/endAllExposures()`` keeps the
  /// books.
  /// - Parameter range: Whole mappings; from 0 to the end of 64 bits everything.
  /// - Returns: How many bytes were mapped.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`: `ENOENT` where nothing is mapped (not for everything), or a mapping
  ///   is cut by the range, which ends those before it; `EBUSY` while hardware queues lie there.
  /// - Source: `struct iommu_ioas_unmap`, include/uapi/linux/iommufd.h, Linux 6.2.
  @discardableResult
  public func unmapBytes(_ range: IOVARange) throws(KernelError) -> UInt64 {
    var command = abi_iommu_ioas_unmap()
    command.ioas_id = id.rawValue
    command.iova = range.start.rawValue
    // From 0, this length means all: 2^64 itself does not fit.
    command.length = range.byteCountMinusOne == .max ? .max : range.byteCountMinusOne + 1
    let fd = context.descriptor
    do throws(KernelError) {
      try kernelCall("IOMMU_IOAS_UNMAP") { unsafe abi_iommu_ioas_unmap(fd, &command) }
    } catch {
      throw error.on("\(label), \(range)")
    }
    return command.length
  }

  @inline(__always)
  private func checkedRange(
    _ start: UInt64, _ byteCount: UInt64, _ operation: StaticString
  ) throws(KernelError) -> IOVARange {
    guard let range = IOVARange(start: IOVA(start), byteCount: byteCount) else {
      throw impossible(start, byteCount, operation)
    }
    return range
  }

  @inline(never)
  private func impossible(_ start: UInt64, _ byteCount: UInt64, _ operation: StaticString) -> KernelError {
    KernelError(
      operation: operation.description, errno: .ioError, subject: label,
      remedy: "the kernel told \(byteCount) bytes at \(IOVA(start)), which cannot be")
  }
}
