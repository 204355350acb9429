// SPDX-License-Identifier: Apache-2.0
public import DMACore
public import LinuxHandles
internal import Synchronization
internal import SystemPackage

extension IOMMUFDDevice {
  /// The width of the PASIDs that the device and its IOMMU support, in bits; 0 without PASIDs.
  ///
  /// Asked once.
  /// - Throws: `KernelError` for `IOMMU_GET_HW_INFO`.
  public func pasidBits() throws(KernelError) -> Int { try hardware().pasidBits }

  private func hardware() throws(KernelError) -> IOMMUHardwareInfo {
    if let known = state.withLock({ $0.hardware }) { return known }
    let info = try hardwareInfo()
    state.withLock { $0.hardware = info }
    return info
  }

  /// Attaches one of the device's PASIDs to a page table: transfers with this PASID are translated by it.
  ///
  /// The device itself is attached to a page table first, and both tables are made with the option
  /// ``HWPageTable/Options/pasid``. What the kernel would let through is refused here: a PASID that the device does not
  /// have (the kernel attaches PASIDs to devices without the capability), a table that tracks dirty pages for a device that
  /// cannot, a PASID that is attached already (VFIO would replace its table), and PASID 0, which is the device itself.
  /// - Returns: Detaches when it goes, and keeps the device bound.
  /// - Throws: `KernelError` for `attach PASID`: `EOPNOTSUPP` for a device without PASIDs, `ERANGE` for one beyond its
  ///   width, `EINVAL` where the order or the tables are wrong, `EBUSY` for one that is attached; and for the attachment
  ///   and `IOMMU_GET_HW_INFO` what the kernel says.
  public func attach(_ pasid: PASID, to table: HWPageTable) throws(KernelError) -> PASIDAttachment {
    try attach(pasid, to: table, using: nil)
  }

  private func attach(
    _ pasid: PASID, to table: HWPageTable, using use: PASIDUse?
  ) throws(KernelError) -> PASIDAttachment {
    precondition(table.context === context, "a device and its page table live in one context")
    let bits = try pasidBits()
    guard bits > 0 else {
      throw refusal(
        .notSupported, of: pasid,
        "the device or its IOMMU has no PASIDs (or they are off); the kernel would not notice")
    }
    guard pasid.rawValue != 0 else {
      throw refusal(.invalidArgument, of: pasid, "PASID 0 is the device itself: attach(to:)")
    }
    guard pasid.fits(pasidBits: bits) else {
      throw refusal(.outOfRange, of: pasid, "the device's PASIDs have \(bits) bits: up to \(1 << bits - 1)")
    }
    try checkCompatibility(of: table, for: pasid)
    try setPASID(pasid, to: table) { state throws(KernelError) in
      guard state.pasids[pasid] == nil else {
        throw refusal(
          .resourceBusy, of: pasid, "it is attached already: replace its table by its PASIDAttachment")
      }
      guard case .pageTable(let own) = state.rid, own.options.contains(.pasid) else {
        throw refusal(
          .invalidArgument, of: pasid,
          "attach the device itself first, to a page table with the option pasid; an address space's own is none"
        )
      }
    }
    return PASIDAttachment(pasid, of: self, using: use)
  }

  /// Attaches a PASID that an allocator handed out: it stays out while it is attached.
  /// - Throws: `KernelError` as ``attach(_:to:)``.
  public func attach(
    _ lease: borrowing PASIDLease, to table: HWPageTable
  ) throws(KernelError) -> PASIDAttachment {
    try attach(lease.pasid, to: table, using: lease.use())
  }

  func checkCompatibility(of table: HWPageTable, for pasid: PASID) throws(KernelError) {
    guard table.options.contains(.pasid) else {
      throw refusal(
        .invalidArgument, of: pasid, "HWPT \(table.id) was not made with the option pasid")
    }
    if table.options.contains(.dirtyTracking), try !hardware().tracksDirtyPages {
      throw refusal(
        .invalidArgument, of: pasid, "HWPT \(table.id) tracks dirty pages, and the device's IOMMU cannot")
    }
  }

  private func refusal(_ errno: Errno, of pasid: PASID, _ remedy: String) -> KernelError {
    KernelError(operation: "attach PASID", errno: errno, subject: "\(label), PASID \(pasid)", remedy: remedy)
  }
}
