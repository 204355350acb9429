// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import SystemPackage

/// What a virtio device is.
/// - Source: Virtual I/O Device Specification 1.2, section 5, "Device Types".
public struct VirtioDeviceID: RawRepresentable, Hashable, Sendable {
  /// The number in the specification.
  public let rawValue: UInt32
  /// Creates an id from its number.
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// A network card.
  public static let network = VirtioDeviceID(rawValue: 1)
  /// A disk.
  public static let block = VirtioDeviceID(rawValue: 2)
  /// A file system.
  public static let fileSystem = VirtioDeviceID(rawValue: 26)
}

extension VirtioDeviceID: CustomStringConvertible {
  /// What it is, for people.
  public var description: String {
    switch self {
    case .network: "a network card"
    case .block: "a disk"
    case .fileSystem: "a file system"
    default: "a virtio device of kind \(rawValue)"
    }
  }
}

/// Feature bits that concern every virtio device.
/// - Source: Virtual I/O Device Specification 1.2, section 6, "Reserved Feature Bits".
public enum VirtioFeature {
  /// Chains may lie in tables of their own.
  public static let indirectDescriptors: UInt64 = 1 << 28
  /// Either side says at which index it wants to be told.
  public static let eventIndex: UInt64 = 1 << 29
  /// The device follows version 1 of the specification or later.
  public static let version1: UInt64 = 1 << 32
  /// Addresses are those of an IOMMU, here of VDUSE's IOTLB.
  public static let accessPlatform: UInt64 = 1 << 33
  /// Queues are packed rings.
  public static let packedRing: UInt64 = 1 << 34
}

/// What a VDUSE device is to be: all that `VDUSE_CREATE_DEV` takes.
/// - Source: `struct vduse_dev_config`, include/uapi/linux/vduse.h, Linux 5.15.
public struct VDUSEDeviceDescription: Hashable, Sendable {
  /// Of the node `/dev/vduse/NAME` and on the vdpa bus; 1 to 255 bytes.
  public var name: String
  /// Block, network or file system: VDUSE has no others.
  public var deviceID: VirtioDeviceID
  /// As in virtio over PCI.
  public var vendorID: UInt32
  /// What is offered to the driver; access platform is among it, or VDUSE refuses the device.
  public var features: UInt64
  /// How many queues it has.
  public var queueCount: Int
  /// Of rings, in bytes: a power of two, at most a page.
  public var queueAlignment: Int
  /// How many groups its queues make; 1 before API version 1.
  public var groupCount: Int
  /// How many address spaces these choose from; 1 before API version 1.
  public var addressSpaceCount: Int
  /// The group of each queue, below ``groupCount``; queues that are not named are in group 0.
  public var queueGroups: [Int] = []
  /// The configuration space, which the driver only reads; at most a page.
  public var configuration: [UInt8]

  /// Describes a device of one group and one address space.
  public init(
    name: String, deviceID: VirtioDeviceID, vendorID: UInt32 = 0, features: UInt64, queueCount: Int,
    queueAlignment: Int = 4096, groupCount: Int = 1, addressSpaceCount: Int = 1, configuration: [UInt8] = []
  ) {
    self.name = name
    self.deviceID = deviceID
    self.vendorID = vendorID
    self.features = features
    self.queueCount = queueCount
    self.queueAlignment = queueAlignment
    self.groupCount = groupCount
    self.addressSpaceCount = addressSpaceCount
    self.configuration = configuration
  }
}

extension VDUSEDeviceDescription {
  func group(ofQueue index: Int) -> Int { queueGroups.indices.contains(index) ? queueGroups[index] : 0 }

  static func nameBytes(_ name: String) -> [UInt8] {
    let bytes = Array(name.utf8.prefix(Int(ABI_VDUSE_NAME_MAX) - 1))
    return bytes + [UInt8](repeating: 0, count: Int(ABI_VDUSE_NAME_MAX) - bytes.count)
  }

  /// The structure with the configuration space behind it.
  package func bytes(for apiVersion: VDUSEAPIVersion) -> [UInt8] {
    var raw = abi_vduse_dev_config()
    raw.vendor_id = vendorID
    raw.device_id = deviceID.rawValue
    raw.features = features
    raw.vq_num = UInt32(clamping: queueCount)
    raw.vq_align = UInt32(clamping: queueAlignment)
    raw.config_size = UInt32(clamping: configuration.count)
    if apiVersion == .one {
      raw.ngroups = UInt32(clamping: groupCount)
      raw.nas = UInt32(clamping: addressSpaceCount)
    }
    var bytes = unsafe withUnsafeBytes(of: raw) { unsafe Array($0) }
    bytes.replaceSubrange(0..<Int(ABI_VDUSE_NAME_MAX), with: Self.nameBytes(name))
    return bytes + configuration
  }

  /// Which of VDUSE's rules this breaks, in the order in which the kernel looks.
  ///
  /// Source: `vduse_validate_config()`, drivers/vdpa/vdpa_user/vduse_dev.c, Linux 7.3.
  package func objection(_ apiVersion: VDUSEAPIVersion) -> String? {
    if apiVersion == .one, !(1...0xffff).contains(groupCount) || !(1...0xffff).contains(addressSpaceCount) {
      return "there is at least one group and one address space"
    }
    if queueAlignment < 4 || queueAlignment > 4096 || queueAlignment & (queueAlignment - 1) != 0 {
      return "the alignment of queues is a power of two from 4 to 4096, not \(queueAlignment)"
    }
    if configuration.count > 4096 { return "the configuration space is at most a page" }
    if queueCount > 0xffff { return "there are at most 65535 queues" }
    if name.isEmpty { return "the device needs a name" }
    let ids: [VirtioDeviceID] = [.block, .network, .fileSystem]
    if !ids.contains(deviceID) { return "VDUSE has block, network and file system devices only" }
    if features & VirtioFeature.accessPlatform == 0 {
      return "the feature access platform (bit 33) is missing"
    }
    // VIRTIO_BLK_F_CONFIG_WCE and VIRTIO_NET_F_CTRL_VQ: the driver cannot write the configuration space.
    if deviceID == .block, features & 1 << 11 != 0 {
      return "a block device cannot offer CONFIG_WCE (bit 11)"
    }
    if deviceID == .network, features & 1 << 17 != 0 {
      return "a network device cannot offer CTRL_VQ (bit 17)"
    }
    if deviceID == .network, features & VirtioFeature.version1 == 0 {
      return "a network device must offer version 1 (bit 32)"
    }
    return nil
  }

  func remedy(for errno: Errno, _ apiVersion: VDUSEAPIVersion) -> String? {
    switch errno {
    case .fileExists:
      "the name is taken: choose another, or take it away with vfioctl serve remove \(name)"
    case .notPermitted: "a network device needs CAP_NET_ADMIN: run as root"
    // What nothing is wrong with: kernels before knew block devices alone.
    case .invalidArgument: objection(apiVersion) ?? "this kernel's VDUSE has no such device, newer ones do"
    default: nil
    }
  }
}
