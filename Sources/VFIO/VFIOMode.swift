// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import DMACore
internal import IOMMUFD

/// By which of the kernel's interfaces a device is opened and its DMA mapped.
public enum VFIOMode: String, Hashable, Sendable {
  /// The device's own node and an IOAS of `/dev/iommu` (Linux 6.6). Preferred where it exists.
  case iommufd
  /// Group and container, second version of the type 1 IOMMU: unmaps exactly what was mapped (Linux 3.10).
  case type1v2
  /// Group and container, first version: an unmap may take more than was asked (Linux 3.6).
  case type1
  /// A group in iommufd's imitation of the container, type1v2 (Linux 6.2).
  case compatType1v2 = "compat-type1v2"
  /// A group in iommufd's imitation of the container, type1 (Linux 6.2).
  case compatType1 = "compat-type1"
  /// Group and container without an IOMMU (Linux 4.5): the device reaches all of physical memory.
  case noIOMMU = "noiommu"
  /// The same by iommufd's imitation of the container (Linux 6.3).
  case compatNoIOMMU = "compat-noiommu"
  /// The device's own node and an IOAS without an IOMMU (Linux 7.3): the device reaches all of physical memory.
  case noIOMMUDevice = "noiommu-cdev"

  /// The modes behind an IOMMU.
  public static let allCases: [VFIOMode] = [.iommufd, .type1v2, .type1, .compatType1v2, .compatType1]

  /// The modes without an IOMMU, which are only ever taken by name.
  public static let withoutIOMMU: [VFIOMode] = [.noIOMMU, .compatNoIOMMU, .noIOMMUDevice]

  /// Whether nothing stands between the device and physical memory.
  public var isWithoutIOMMU: Bool { Self.withoutIOMMU.contains(self) }

  /// Whether the device is opened through its group.
  public var usesGroup: Bool { self != .iommufd && self != .noIOMMUDevice }

  /// The node by which the mode is reached: the container, or iommufd.
  public var nodePath: String {
    switch self {
    case .type1, .type1v2, .noIOMMU: "/dev/vfio/vfio"
    case .iommufd, .compatType1, .compatType1v2, .compatNoIOMMU, .noIOMMUDevice: "/dev/iommu"
    }
  }

  /// The node of a group.
  func groupPath(_ number: Int) -> String {
    isWithoutIOMMU ? "/dev/vfio/noiommu-\(number)" : "/dev/vfio/\(number)"
  }

  /// What a device that is attached to an IOAS maps its memory in.
  func space(of ioas: IOAS) -> any AddressSpace { isWithoutIOMMU ? NoIOMMUSpace(ioas) : ioas }

  /// The number of this IOMMU type in `VFIO_SET_IOMMU`.
  var iommuType: VFIOExtension {
    switch self {
    case .type1, .compatType1: .type1
    case .type1v2, .compatType1v2, .iommufd: .type1v2
    case .noIOMMU, .compatNoIOMMU, .noIOMMUDevice: .noIOMMU
    }
  }
}
