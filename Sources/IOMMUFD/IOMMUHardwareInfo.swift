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
    case armSMMUv3(ArmSMMUv3)
    /// NVIDIA's extension of SMMUv3, which is told where it is asked for (``tegra241Type``).
    case tegra241CMDQV(Tegra241CMDQV)
    /// AMD's IOMMU, with its two extended feature registers (AMD I/O Virtualization Technology specification, MMIO
    /// offsets 0x30 and 0x1A0).
    case amd(extendedFeatures: UInt64, extendedFeatures2: UInt64)
    /// A type that this version does not know, with what it reports.
    case other(UInt32, [UInt8])
  }

  /// What SMMUv3 reports: registers of its specification, 6.3.1 to 6.3.6, not all of whose bits mean anything here.
  public struct ArmSMMUv3: Hashable, Sendable {
    /// Implemented features, `SMMU_IDR0` to `SMMU_IDR5`.
    public let idr: [UInt32]
    /// Who implemented it, `SMMU_IIDR`.
    public let iidr: UInt32
    /// The version of the architecture, `SMMU_AIDR`.
    public let aidr: UInt32
    /// Whether invalidations must be issued twice (erratum).
    public let repeatsInvalidations: Bool
  }

  /// What Tegra241's CMDQV reports, for the virtual machine's PARAM register.
  public struct Tegra241CMDQV: Hashable, Sendable {
    /// The version of the hardware.
    public let version: Int
    /// How many virtual command queues there are, as a power of two.
    public let log2QueueCount: Int
    /// How many streams can be replaced, as a power of two.
    public let log2StreamCount: Int
  }

  /// What the hardware and the device can do, whoever made it.
  public struct Capabilities: OptionSet, Hashable, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt64
    /// Creates a set from the kernel's bits.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Page tables can track what devices write.
    public static let dirtyTracking = Capabilities(rawValue: UInt64(ABI_IOMMU_HW_CAP_DIRTY_TRACKING))
    /// Requests with a PASID may ask for permission to execute.
    public static let pasidExecute = Capabilities(rawValue: UInt64(ABI_IOMMU_HW_CAP_PCI_PASID_EXEC))
    /// Requests with a PASID may have privileges.
    public static let pasidPrivileged = Capabilities(rawValue: UInt64(ABI_IOMMU_HW_CAP_PCI_PASID_PRIV))
    /// The device's own translation cache (ATS) cannot be used; older kernels do not tell.
    public static let withoutATS = Capabilities(
      rawValue: UInt64(ABI_IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED))
  }

  /// The type to ask for, to learn of Tegra241's CMDQV.
  public static var tegra241Type: UInt32 { ABI_IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV }

  /// Whose it is.
  public let kind: Kind
  /// The width of PASIDs that this device and its IOMMU support, in bits; 0 without PASIDs.
  ///
  /// The kernel does not refuse a PASID on a device with width 0; ``IOMMUFDDevice/attach(_:to:)-(PASID,_)`` does.
  public let pasidBits: Int
  /// What it can do.
  public let capabilities: Capabilities
  /// Errata that VT-d reports: read-only mappings must not be in the parent of nested tables.
  public let forbidsReadOnlyMappingsInParents: Bool

  /// Whether page tables can track what devices write.
  public var tracksDirtyPages: Bool { capabilities.contains(.dirtyTracking) }

  /// Asks about a device that is bound to a context.
  /// - Parameter type: What to ask for, where the hardware has several things to tell (Linux 6.17); nil for the usual.
  /// - Throws: `KernelError` for `IOMMU_GET_HW_INFO`: `ENOENT` for an id that is no device, `EOPNOTSUPP` for a device
  ///   without an IOMMU, or a type that its IOMMU does not have.
  public init(
    of device: IOMMUFDObjectID, in context: IOMMUFDContext, type: UInt32? = nil
  ) throws(KernelError) {
    var command = abi_iommu_hw_info()
    command.dev_id = device.rawValue
    if let type {
      command.flags = ABI_IOMMU_HW_INFO_FLAG_INPUT_TYPE
      command.out_data_type = type
    }
    // Longer than anything that is known; the kernel fills the rest with zeros.
    var data = [UInt8](repeating: 0, count: 256)
    let fd = context.descriptor
    try iommufdCall("IOMMU_GET_HW_INFO", since: "6.6", on: "device \(device)") {
      unsafe abi_iommu_get_hw_info(fd, &command, &data, 256)
    }
    var hasReadOnlyErratum = false
    switch command.out_data_type {
    case ABI_IOMMU_HW_INFO_TYPE_NONE: kind = .none
    case ABI_IOMMU_HW_INFO_TYPE_INTEL_VTD:
      let told = Self.layout(abi_iommu_hw_info_vtd.self, in: data)
      kind = .intelVTd(capability: told.cap_reg, extendedCapability: told.ecap_reg)
      hasReadOnlyErratum = told.flags & ABI_IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 != 0
    case ABI_IOMMU_HW_INFO_TYPE_ARM_SMMUV3:
      kind = .armSMMUv3(ArmSMMUv3(Self.layout(abi_iommu_hw_info_arm_smmuv3.self, in: data)))
    case ABI_IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV:
      let told = Self.layout(abi_iommu_hw_info_tegra241_cmdqv.self, in: data)
      kind = .tegra241CMDQV(
        Tegra241CMDQV(
          version: Int(told.version), log2QueueCount: Int(told.log2vcmdqs),
          log2StreamCount: Int(told.log2vsids)))
    case ABI_IOMMU_HW_INFO_TYPE_AMD:
      let told = Self.layout(abi_iommu_hw_info_amd.self, in: data)
      kind = .amd(extendedFeatures: told.efr, extendedFeatures2: told.efr2)
    default: kind = .other(command.out_data_type, Array(data.prefix(Int(command.data_len))))
    }
    pasidBits = Int(command.out_max_pasid_log2)
    capabilities = Capabilities(rawValue: command.out_capabilities)
    forbidsReadOnlyMappingsInParents = hasReadOnlyErratum
  }

  private static func layout<Layout: BitwiseCopyable>(_ type: Layout.Type, in data: [UInt8]) -> Layout {
    precondition(data.count >= MemoryLayout<Layout>.size, "room for what a vendor tells")
    // SAFETY: so many bytes are there, and every bit pattern is one of the kernel's structures.
    return unsafe data.withUnsafeBytes { unsafe $0.loadUnaligned(as: type) }
  }
}

extension IOMMUHardwareInfo.ArmSMMUv3 {
  fileprivate init(_ told: abi_iommu_hw_info_arm_smmuv3) {
    let registers = told.idr
    idr = [registers.0, registers.1, registers.2, registers.3, registers.4, registers.5]
    iidr = told.iidr
    aidr = told.aidr
    repeatsInvalidations = told.flags & ABI_IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI != 0
  }
}
