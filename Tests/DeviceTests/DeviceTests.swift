// SPDX-License-Identifier: Apache-2.0
import PCIBus
import TestSupport
import Testing
import VFIO

/// T3: real functions, in every mode.
///
/// One test at a time: they share the functions of one machine.
@Suite(.serialized, .lab("intel-iommu"))
struct DeviceTests {}

/// The functions of the lab's machine `intel-iommu`; see Tests/Lab/machines.
enum LabFunction {
  static let edu = address("0000:00:02.0")
  static let testDevice = address("0000:00:03.0")
  static let nvme = address("0000:00:04.0")
  static let rootPort = address("0000:00:05.0")
  static let secondEdu = address("0000:00:06.0")
  static let igb = address("0000:01:00.0")
  /// A function that shares its group with ``networkInSharedGroup``.
  static let eduInSharedGroup = address("0000:00:08.0")
  static let networkInSharedGroup = address("0000:00:08.1")
  static let absent = address("0000:00:1e.7")

  /// The modes with an IOMMU that the lab's kernel has to offer: Debian's own kernels have no iommufd.
  static let modes = Lab.kernel.hasPrefix("stock") ? [VFIOMode.type1, .type1v2] : VFIOMode.allCases

  /// One mode of each interface that the kernel has: for what is the kernel's, not the mode's.
  static let eachInterface = [VFIOMode.iommufd, .type1v2].filter { modes.contains($0) }
  /// The best mode that the kernel has: for what concerns no mode.
  static let anyMode = eachInterface[0]

  static func address(_ text: String) -> PCIAddress {
    guard let address = PCIAddress(text) else { preconditionFailure("\(text) is an address") }
    return address
  }

  /// Opens a function, bound to vfio-pci if it is not yet.
  static func open(_ address: PCIAddress, _ mode: VFIOMode?) throws -> VFIODevice {
    try lend(address)
    return try VFIODevice.open(address, mode: mode)
  }

  /// Binds a function to vfio-pci if it is not yet.
  static func lend(_ address: PCIAddress) throws {
    if try !PCIBus().function(at: address).isBoundToVFIO { try DriverBinding().bind([address]) }
  }
}

/// The files whose descriptors and mappings a test of VFIO may leak.
func concernsVFIO(_ path: String) -> Bool {
  path.hasPrefix("/dev/vfio") || path.hasPrefix("/dev/iommu") || path.contains("[eventfd]")
    || path.contains("[vfio") || path.contains("[eventpoll]")
}
