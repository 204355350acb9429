// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles

/// What the IOMMU in front of a bound device says of itself.
/// - Source: `struct iommu_hw_info`, include/uapi/linux/iommufd.h, Linux 6.6.
public struct IOMMUHardwareInfo: Hashable, Sendable {
  /// Whose IOMMU it is, with what that vendor reports.
  public enum Kind: Hashable, Sendable {
    /// The driver reports nothing.
    case none
    /// Intel VT-d, with its capability and extended capability registers (VT-d specification, 11.4.2, 11.4.3).
    case intelVTd(capability: UInt64, extendedCapability: UInt64)
    /// Arm SMMUv3.
    case armSMMUv3
    /// A type that this version does not know.
    case other(UInt32)
  }

  /// Whose it is.
  public let kind: Kind
  /// The width of PASIDs that this device and its IOMMU support, in bits; 0 without PASIDs.
  ///
  /// The kernel does not refuse a PASID on a device with width 0, so the caller must.
  public let pasidBits: Int
  /// Whether page tables can track what devices write.
  public let tracksDirtyPages: Bool

  /// Asks about a device that is bound to a context.
  /// - Throws: `KernelError` for `IOMMU_GET_HW_INFO`: `ENOENT` for an id that is no device, `EOPNOTSUPP`.
  public init(of device: IOMMUFDObjectID, in context: IOMMUFDContext) throws(KernelError) {
    var command = abi_iommu_hw_info()
    command.dev_id = device.rawValue
    var vtd = abi_iommu_hw_info_vtd()
    let fd = context.descriptor
    try kernelCall("IOMMU_GET_HW_INFO", on: "device \(device)") {
      unsafe abi_iommu_get_hw_info(fd, &command, &vtd, UInt32(MemoryLayout<abi_iommu_hw_info_vtd>.size))
    }
    kind =
      switch command.out_data_type {
      case ABI_IOMMU_HW_INFO_TYPE_NONE: .none
      case ABI_IOMMU_HW_INFO_TYPE_INTEL_VTD:
        .intelVTd(capability: vtd.cap_reg, extendedCapability: vtd.ecap_reg)
      case ABI_IOMMU_HW_INFO_TYPE_ARM_SMMUV3: .armSMMUv3
      default: .other(command.out_data_type)
      }
    pasidBits = Int(command.out_max_pasid_log2)
    tracksDirtyPages = command.out_capabilities & UInt64(ABI_IOMMU_HW_CAP_DIRTY_TRACKING) != 0
  }
}
