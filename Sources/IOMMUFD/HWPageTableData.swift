// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// What a vendor's IOMMU is told of a page table: of a nested one, where the user's table lies.
public struct HWPageTableData: Hashable, Sendable {
  /// The kernel's number of the layout.
  public let type: UInt32
  /// The vendor's structure.
  public let bytes: [UInt8]

  /// Data of a layout that this version has no case for.
  public init(type: UInt32, bytes: [UInt8]) {
    self.type = type
    self.bytes = bytes
  }

  /// Attributes of a first stage of VT-d.
  public struct IntelVTdFlags: OptionSet, Hashable, Sendable {
    /// The kernel's flags.
    public let rawValue: UInt64
    /// Creates flags from the kernel's.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Supervisor requests are allowed.
    public static let supervisorRequests = IntelVTdFlags(rawValue: UInt64(ABI_IOMMU_VTD_S1_SRE))
    /// The extended accessed flag is set.
    public static let extendedAccess = IntelVTdFlags(rawValue: UInt64(ABI_IOMMU_VTD_S1_EAFE))
    /// Supervisors are kept from writing to pages without permission.
    public static let writeProtect = IntelVTdFlags(rawValue: UInt64(ABI_IOMMU_VTD_S1_WPE))
  }

  /// A first stage of Intel VT-d.
  /// - Parameters:
  ///   - base: Where the table lies, as the parent's table translates it.
  ///   - addressBits: 48 or 57.
  /// - Source: `struct iommu_hwpt_vtd_s1`, include/uapi/linux/iommufd.h, Linux 6.7.
  public static func intelVTdFirstStage(
    at base: UInt64, addressBits: Int, flags: IntelVTdFlags = []
  ) -> HWPageTableData {
    var data = abi_iommu_hwpt_vtd_s1()
    data.flags = flags.rawValue
    data.pgtbl_addr = base
    data.addr_width = UInt32(addressBits)
    return HWPageTableData(type: ABI_IOMMU_HWPT_DATA_VTD_S1, bytes: layoutBytes(of: data))
  }

  /// A context descriptor table of Arm SMMUv3, by the first two double words of its stream table entry.
  /// - Source: `struct iommu_hwpt_arm_smmuv3`, include/uapi/linux/iommufd.h, Linux 6.13.
  public static func armSMMUv3(_ first: UInt64, _ second: UInt64) -> HWPageTableData {
    HWPageTableData(
      type: ABI_IOMMU_HWPT_DATA_ARM_SMMUV3,
      bytes: layoutBytes(
        of: abi_iommu_hwpt_arm_smmuv3(ste: (first.littleEndian, second.littleEndian))))
  }

  /// A guest's page table of AMD's IOMMU, by the guest's device table entry.
  /// - Parameter entry: Its four double words.
  /// - Source: `struct iommu_hwpt_amd_guest`, include/uapi/linux/iommufd.h, Linux 7.0.
  public static func amdGuest(_ entry: [UInt64]) -> HWPageTableData {
    precondition(entry.count == 4, "a device table entry has four double words")
    return HWPageTableData(
      type: ABI_IOMMU_HWPT_DATA_AMD_GUEST,
      bytes: layoutBytes(of: abi_iommu_hwpt_amd_guest(dte: (entry[0], entry[1], entry[2], entry[3]))))
  }
}

/// The bytes of a structure of the kernel's, which has no padding.
func layoutBytes<Layout: BitwiseCopyable>(of layout: Layout) -> [UInt8] {
  unsafe withUnsafeBytes(of: layout) { unsafe Array($0) }
}
