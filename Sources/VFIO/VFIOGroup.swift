// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
public import PCIBus
internal import SystemPackage

/// One open IOMMU group: the smallest set of functions that the IOMMU can keep apart from all others.
///
/// A group can be open once in the whole system, so functions of one group share one of these.
/// - Source: Documentation/driver-api/vfio.rst, Linux 3.6.
public final class VFIOGroup: Sendable {
  /// The kernel's number of the group.
  public let number: Int
  private let owned: OwnedDescriptor
  /// The address space that it joined.
  ///
  /// Released after the group's descriptor.
  public let container: VFIOContainer

  /// Opens a group and lets it join a container.
  /// - Throws: `KernelError` for `open` (`ENOENT`: no function of the group is bound to vfio-pci; `EBUSY`:
  ///   another process has it, named in the remedy), `VFIO_GROUP_GET_STATUS` (the group is not viable; the
  ///   members in the way are named), `VFIO_GROUP_SET_CONTAINER` or `VFIO_SET_IOMMU`.
  public init(_ number: Int, joining container: VFIOContainer, on bus: PCIBus = PCIBus()) throws(KernelError)
  {
    let path = "/dev/vfio/\(number)"
    do throws(KernelError) {
      owned = try OwnedDescriptor.open(path, for: .readWrite)
    } catch {
      throw error.advising(Self.remedy(for: error.errno, opening: path, number: number, on: bus))
    }
    self.number = number
    self.container = container
    let fd = owned.rawValue
    var status = abi_vfio_group_status()
    try kernelCall("VFIO_GROUP_GET_STATUS", on: path) { unsafe abi_vfio_group_get_status(fd, &status) }
    guard status.flags & ABI_VFIO_GROUP_FLAGS_VIABLE != 0 else {
      throw KernelError(
        operation: "VFIO_GROUP_GET_STATUS", errno: .notPermitted, subject: "IOMMU group \(number)",
        remedy: Self.viabilityRemedy(number, on: bus))
    }
    let containerFD = container.descriptor
    try kernelCall("VFIO_GROUP_SET_CONTAINER", on: "\(path), \(container.label)") {
      abi_vfio_group_set_container(fd, containerFD)
    }
    try container.groupJoined()
  }

  /// The descriptor, for calls that hand it to the kernel as a proof of ownership.
  var descriptor: CInt { owned.rawValue }

  /// Opens a device of this group.
  /// - Throws: `KernelError` for `VFIO_GROUP_GET_DEVICE_FD`: `EBUSY` where it is open already, `ENODEV` where
  ///   the group has no such device bound to a VFIO driver, `EACCES` or `EINVAL` for its token.
  func open(_ address: PCIAddress, token: VFToken?) throws(KernelError) -> OwnedDescriptor {
    let fd = owned.rawValue
    let name = token?.deviceName(address) ?? address.description
    do throws(KernelError) {
      return OwnedDescriptor(
        adopting: try kernelCall("VFIO_GROUP_GET_DEVICE_FD", on: "\(address)") {
          unsafe name.withCString { unsafe abi_vfio_group_get_device_fd(fd, $0) }
        })
    } catch {
      throw error.errno == .operationNotSupportedByDevice
        ? error.advising("bind the function first: vfioctl bind \(address)") : error.advisingOnToken(token)
    }
  }

  private static func remedy(for errno: Errno, opening path: String, number: Int, on bus: PCIBus) -> String? {
    switch errno {
    case .noSuchFileOrDirectory, .operationNotSupportedByDevice, .noSuchAddressOrDevice:
      "no function of IOMMU group \(number) is bound to vfio-pci; vfioctl bind BDF does it"
    case .resourceBusy: DeviceHolders.remedy(for: path, on: bus)
    case .permissionDenied: "run as root, or give your user this node: chown $USER \(path)"
    default: nil
    }
  }

  private static func viabilityRemedy(_ number: Int, on bus: PCIBus) -> String {
    guard let group = try? bus.group(number) else { return "a member of the group is held by another driver" }
    let blockers = group.blockers.map(\.description).joined(separator: ", ")
    return blockers.isEmpty
      ? "all members look free now; try again"
      : "held by other drivers: \(blockers); bind or unbind them too, or place the device in a slot of its own"
  }
}
