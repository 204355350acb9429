// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import SystemPackage

/// Something that a container may offer, asked by name.
/// - Source: `VFIO_CHECK_EXTENSION` and the numbers before it, include/uapi/linux/vfio.h.
public struct VFIOExtension: RawRepresentable, Hashable, Sendable {
  /// The kernel's number.
  public let rawValue: UInt32
  /// Names an extension by the kernel's number.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The first version of the type 1 IOMMU (Linux 3.6).
  public static let type1 = VFIOExtension(rawValue: ABI_VFIO_TYPE1_IOMMU)
  /// The second version: unmaps exactly what was mapped (Linux 3.15).
  public static let type1v2 = VFIOExtension(rawValue: ABI_VFIO_TYPE1v2_IOMMU)
  /// All DMA is cache coherent, whatever devices ask for (Linux 3.15).
  ///
  /// Known once a group has joined.
  public static let coherentDMA = VFIOExtension(rawValue: ABI_VFIO_DMA_CC_IOMMU)
  /// No IOMMU at all (Linux 4.5).
  public static let noIOMMU = VFIOExtension(rawValue: ABI_VFIO_NOIOMMU_IOMMU)
  /// One call unmaps everything (Linux 5.12).
  public static let unmapAll = VFIOExtension(rawValue: ABI_VFIO_UNMAP_ALL)
  /// The process's address behind a mapping can be changed (Linux 5.12).
  ///
  /// Since 6.2 only once a group has joined, and never beside a mediated device.
  public static let updateAddress = VFIOExtension(rawValue: ABI_VFIO_UPDATE_VADDR)
}

extension VFIOExtension: CustomStringConvertible {
  /// The kernel's name, or the number of one that this version does not know.
  public var description: String {
    switch self {
    case .type1: "VFIO_TYPE1_IOMMU"
    case .type1v2: "VFIO_TYPE1v2_IOMMU"
    case .coherentDMA: "VFIO_DMA_CC_IOMMU"
    case .noIOMMU: "VFIO_NOIOMMU_IOMMU"
    case .unmapAll: "VFIO_UNMAP_ALL"
    case .updateAddress: "VFIO_UPDATE_VADDR"
    default: "extension \(rawValue)"
    }
  }
}

extension VFIOContainer {
  /// Whether the container offers something.
  ///
  /// The answer is the container's own once a group has joined; before, it is that of any IOMMU driver of VFIO.
  /// - Throws: `KernelError` for `VFIO_CHECK_EXTENSION`: `ENODEV` for what iommufd's imitation knows only later.
  public func offers(_ feature: VFIOExtension) throws(KernelError) -> Bool {
    let fd = descriptor
    return try kernelCall("VFIO_CHECK_EXTENSION", on: "\(label), \(feature)") {
      abi_vfio_check_extension(fd, feature.rawValue)
    } > 0
  }

  /// The error for a call that the mode's container does not have.
  func unsupported(_ operation: String, _ remedy: String) -> KernelError {
    KernelError(
      operation: operation, errno: .notSupported, subject: label,
      remedy: "mode \(mode.rawValue) does not offer this; \(remedy)")
  }

  /// Checks for something that a call needs.
  /// - Throws: `KernelError` `EOPNOTSUPP`, naming the mode.
  func require(_ feature: VFIOExtension, for operation: String, _ remedy: String) throws(KernelError) {
    guard try offers(feature) else { throw unsupported(operation, remedy) }
  }
}
