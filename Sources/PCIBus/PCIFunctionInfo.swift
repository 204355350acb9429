// SPDX-License-Identifier: Apache-2.0

/// What Linux knows of one PCI function: facts of one moment, read from sysfs.
///
/// Source: Documentation/ABI/testing/sysfs-bus-pci; drivers/pci/pci-sysfs.c, drivers/pci/iov.c.
public struct PCIFunctionInfo: Hashable, Sendable {
  /// How many virtual functions a physical function has.
  public struct VirtualFunctionCounts: Hashable, Sendable {
    /// The number it can have (`sriov_totalvfs`).
    public let total: Int
    /// The number it has now (`sriov_numvfs`).
    public let enabled: Int
    /// Creates the pair.
    public init(total: Int, enabled: Int) {
      self.total = total
      self.enabled = enabled
    }
  }

  /// Where it sits.
  public let address: PCIAddress
  /// Who made it.
  public internal(set) var vendorID: UInt16 = 0
  /// What its maker calls it.
  public internal(set) var deviceID: UInt16 = 0
  /// Who made the board.
  public internal(set) var subsystemVendorID: UInt16 = 0
  /// What the board's maker calls it.
  public internal(set) var subsystemDeviceID: UInt16 = 0
  /// The revision of the device.
  public internal(set) var revision: UInt8 = 0
  /// What kind of function it is.
  public internal(set) var classCode = PCIClassCode(rawValue: 0)
  /// The layout of its configuration header: 0 ordinary, 1 PCI bridge, 2 CardBus bridge; nil where configuration
  /// space could not be read or the device does not answer.
  public internal(set) var headerType: UInt8?
  /// The kernel driver that holds it.
  public internal(set) var driver: String?
  /// The only driver that may take it, where someone has said so.
  public internal(set) var driverOverride: String?
  /// The number of its IOMMU group; nil without an IOMMU.
  public internal(set) var iommuGroup: Int?
  /// The NUMA node it is close to; nil where the machine does not say.
  public internal(set) var numaNode: Int?
  /// Its base address registers, by index.
  public internal(set) var bars: [PCIBAR] = []
  /// Whether a driver has enabled it.
  public internal(set) var isEnabled = false
  /// Whether the firmware chose it for the console.
  public internal(set) var isBootVGA = false
  /// How many virtual functions it has and can have; nil where it is not a physical function.
  public internal(set) var virtualFunctionCounts: VirtualFunctionCounts?
  /// The physical function it belongs to, where it is a virtual one.
  public internal(set) var physicalFunction: PCIAddress?
  /// Its virtual functions, in order.
  public internal(set) var virtualFunctions: [PCIAddress] = []
  /// The name of its VFIO device node, as in `/dev/vfio/devices/vfio0`; only while a VFIO driver holds it.
  public internal(set) var vfioDeviceName: String?
  /// The same where it has no IOMMU, as in `/dev/vfio/devices/noiommu-vfio0`; see `VFIOMode.noIOMMUDevice`.
  public internal(set) var noIOMMUDeviceName: String?

  init(address: PCIAddress) { self.address = address }

  /// Whether it is a bridge, which no VFIO driver takes.
  public var isBridge: Bool { classCode.isBridge || (headerType ?? 0) != 0 }

  /// Whether a VFIO driver holds it.
  public var isBoundToVFIO: Bool { driver.map(IOMMUGroup.isVFIODriver) ?? false }
}
