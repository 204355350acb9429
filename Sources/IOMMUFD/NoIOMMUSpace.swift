// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles

/// The address space of devices without an IOMMU that are attached to an IOAS: physical memory.
///
/// The IOAS maps and pins memory as ever, at addresses that mean nothing to a device; the device's address is
/// where the memory lies (``IOAS/physicalRuns(of:)``), and ``DMAMemory/iova`` tells that one. So memory must lie in
/// one piece: a page, or huge pages. Nothing stops such a device from reaching any other memory.
/// - Source: `struct iommu_ioas_noiommu_get_pa`, include/uapi/linux/iommufd.h, Linux 7.3.
public final class NoIOMMUSpace: AddressSpace {
  /// Where the memory is mapped and pinned.
  public let ioas: IOAS

  /// Looks at an IOAS as its devices without an IOMMU do.
  public init(_ ioas: IOAS) {
    self.ioas = ioas
    label = "\(ioas.label) (no IOMMU)"
  }

  /// For messages.
  public let label: String
  /// The page size.
  public var granuleByteCount: Int { ioas.granuleByteCount }
  /// What is handed out of the IOAS; not what devices see.
  public var reservations: IOVAReservations { ioas.reservations }

  /// Maps and pins pages of this process; see `AddressSpace`.
  /// - Throws: `KernelError` as ``IOAS/mapPages(_:to:access:sharing:)``.
  @unsafe
  public func mapPages(
    _ base: UnsafeMutableRawPointer, to range: IOVARange, access: DMAAccess, sharing: DMASharing
  ) throws(KernelError) {
    try unsafe ioas.mapPages(base, to: range, access: access, sharing: sharing)
  }

  /// Unmaps and unpins.
  /// - Throws: `KernelError` as ``IOAS/unmapPages(_:)``.
  public func unmapPages(_ range: IOVARange) throws(KernelError) { try ioas.unmapPages(range) }

  /// The physical address.
  /// - Throws: `KernelError` as ``IOAS/physicalRuns(of:)``; `EINVAL` for several pieces.
  public func busAddress(of range: IOVARange) throws(KernelError) -> IOVA {
    try ioas.physicalRuns(of: range).busAddress(in: "\(label), \(range)")
  }
}
