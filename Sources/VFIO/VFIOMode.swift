// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// By which of the kernel's interfaces a device is opened and its DMA mapped.
public enum VFIOMode: String, CaseIterable, Hashable, Sendable {
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

  /// Whether the device is opened through its group.
  public var usesGroup: Bool { self != .iommufd }

  /// The node by which the mode is reached: the container, or iommufd.
  public var nodePath: String {
    switch self {
    case .type1, .type1v2: "/dev/vfio/vfio"
    case .iommufd, .compatType1, .compatType1v2: "/dev/iommu"
    }
  }

  /// The number of this IOMMU type in `VFIO_SET_IOMMU`.
  var iommuType: UInt32 {
    switch self {
    case .type1, .compatType1: UInt32(ABI_VFIO_TYPE1_IOMMU)
    case .type1v2, .compatType1v2, .iommufd: UInt32(ABI_VFIO_TYPE1v2_IOMMU)
    }
  }
}
