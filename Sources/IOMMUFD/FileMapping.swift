// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import SystemPackage

/// Memory of a memory file (memfd) that the devices of an ``IOAS`` reach, whoever has it mapped.
///
/// A guest's memory, or another process's. It is no memory of this process, so no ledger counts it; the kernel keeps
/// the pages while they are mapped, even if the file is truncated or closed. Unmapped when this value goes.
public struct FileMapping: ~Copyable, Sendable {
  /// The addresses that devices use.
  public let range: IOVARange
  private let mapped: MappedRange

  fileprivate init(_ mapped: MappedRange) {
    range = mapped.range
    self.mapped = mapped
  }

  /// The device's address of the first byte.
  public var iova: IOVA { range.start }

  /// Lets the devices of another address space of the same context reach it too; nothing is pinned again.
  ///
  /// Each mapping ends by itself.
  /// - Throws: `KernelError`: as ``IOAS/map(_:_:access:at:addressBits:)``, for `IOMMU_IOAS_COPY`.
  public borrowing func copied(
    to space: IOAS, access: DMAAccess = .readWrite, at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> FileMapping {
    FileMapping(try mapped.copied(to: space, access: access, at: iova, addressBits: addressBits))
  }

  /// Takes it away from the devices.
  /// - Throws: `KernelError` for `IOMMU_IOAS_UNMAP`; the addresses are then never used again.
  public consuming func unmap() throws(KernelError) { try mapped.end() }
}

extension IOAS {
  /// Lets the devices of this address space reach memory of a memory file.
  ///
  /// For memory that this process allocated itself there is ``exposeFile(_:access:sharing:at:addressBits:)``.
  /// - Parameters:
  ///   - file: It may be closed afterwards.
  ///   - bytes: Of the file, whole pages; the file has them.
  ///   - access: What the *devices* may do.
  ///   - iova: Where; nil lets the library choose.
  ///   - addressBits: How many address bits the devices drive.
  /// - Throws: `KernelError`: `ENOSPC`, `EEXIST`, `EINVAL` as for memory; for `IOMMU_IOAS_MAP_FILE`: `EINVAL` beyond
  ///   the file's end, once a device is attached, or for a file that is no memory file; `ENOMEM` over the limit of
  ///   locked memory; `ENOTTY` before the kernel knew it.
  /// - Source: `struct iommu_ioas_map_file`, include/uapi/linux/iommufd.h.
  public func map(
    _ file: borrowing OwnedDescriptor, _ bytes: Range<Int>, access: DMAAccess = .readWrite,
    at iova: IOVA? = nil, addressBits: Int = 64
  ) throws(KernelError) -> FileMapping {
    let unit = granuleByteCount
    guard !bytes.isEmpty, bytes.lowerBound >= 0, bytes.lowerBound % unit == 0, bytes.count % unit == 0 else {
      throw KernelError(
        operation: "map file", errno: .invalidArgument, subject: "bytes \(bytes)",
        remedy: "map whole pages of \(unit) bytes")
    }
    let fd = file.rawValue
    return FileMapping(
      try MappedRange(
        bytes.count, in: self, at: iova, addressBits: addressBits
      ) { range throws(KernelError) in
        let part = UInt64(bytes.lowerBound)..<UInt64(bytes.upperBound)
        _ = try mapFile(fd, part, at: range.start, access: access)
      })
  }
}
