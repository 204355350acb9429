// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
public import PCIBus
internal import Synchronization
internal import SystemPackage

/// One open IOMMU group: the smallest set of functions that the IOMMU can keep apart from all others.
///
/// A group can be open once in the whole system, so functions of one group share one of these. It leaves its
/// container when the last holder lets go, or by ``leave()``.
/// - Source: Documentation/driver-api/vfio.rst, Linux 3.6.
public final class VFIOGroup: Sendable {
  /// The kernel's number of the group.
  public let number: Int
  private let owned: OwnedDescriptor
  /// The address space that it joined.
  ///
  /// Released after the group's descriptor.
  public let container: VFIOContainer
  private let isMember = Mutex(false)

  /// Opens a group and lets it join a container.
  /// - Throws: `KernelError` for `open` (`ENOENT`: no function of the group is bound to vfio-pci; `EBUSY`:
  ///   another process has it, named in the remedy), `VFIO_GROUP_GET_STATUS` (the group is not viable; the
  ///   members in the way are named), `VFIO_GROUP_SET_CONTAINER` (`EPERM` without an IOMMU and CAP_SYS_RAWIO) or
  ///   `VFIO_SET_IOMMU`.
  public init(_ number: Int, joining container: VFIOContainer, on bus: PCIBus = PCIBus()) throws(KernelError)
  {
    let mode = container.mode
    let path = mode.groupPath(number)
    do throws(KernelError) {
      owned = try OwnedDescriptor.open(path, for: .readWrite)
    } catch {
      throw error.advising(Self.remedy(for: error.errno, opening: path, number: number, mode: mode, on: bus))
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
    do throws(KernelError) {
      try kernelCall("VFIO_GROUP_SET_CONTAINER", on: "\(path), \(container.label)") {
        abi_vfio_group_set_container(fd, containerFD)
      }
    } catch {
      throw error.errno == .notPermitted && mode.isWithoutIOMMU
        ? error.advising(NoIOMMUSwitch.privilegeRemedy) : error
    }
    try container.groupJoined()
    isMember.withLock { $0 = true }
  }

  /// Takes the group out of its container, whose addresses its devices then reach no more.
  ///
  /// No device of it can be opened afterwards. With the last group the kernel ends all mappings of a container;
  /// memory that is exposed there comes back all the same.
  /// - Throws: `KernelError` for `VFIO_GROUP_UNSET_CONTAINER`: `EBUSY` while a device of the group is open; `EINVAL`
  ///   where it has left.
  public func leave() throws(KernelError) {
    let (fd, subject) = (owned.rawValue, "\(container.mode.groupPath(number)), \(container.label)")
    let failure = isMember.withLock { isMember -> KernelError? in
      do throws(KernelError) {
        try kernelCall("VFIO_GROUP_UNSET_CONTAINER", on: subject) { abi_vfio_group_unset_container(fd) }
        if isMember { container.groupLeft() }
        isMember = false
        return nil
      } catch {
        return error.errno == .resourceBusy
          ? error.advising("close the group's devices first, and drop their windows and vectors") : error
      }
    }
    if let failure { throw failure }
  }

  deinit {
    guard isMember.withLock({ $0 }) else { return }
    // Busy only where a mapping of a register outlives the device by a moment; closing does it then.
    _ = abi_vfio_group_unset_container(owned.rawValue)
    container.groupLeft()
  }

  /// The descriptor, for calls that hand it to the kernel as a proof of ownership.
  var descriptor: CInt { owned.rawValue }

  /// Opens a device of this group.
  /// - Throws: `KernelError` for `VFIO_GROUP_GET_DEVICE_FD`: `EBUSY` where it is open already, `ENODEV` where
  ///   the group has no such device bound to a VFIO driver, `EACCES` or `EINVAL` for its token.
  func open(_ address: PCIAddress, token: VFToken?) throws(KernelError) -> OwnedDescriptor {
    let name = token?.deviceName(address) ?? address.description
    do throws(KernelError) {
      return try openDevice(named: name, subject: "\(address)")
    } catch {
      throw error.errno == .operationNotSupportedByDevice
        ? error.advising("bind the function first: vfioctl bind \(address)") : error.advisingOnToken(token)
    }
  }

  private static func remedy(
    for errno: Errno, opening path: String, number: Int, mode: VFIOMode, on bus: PCIBus
  ) -> String? {
    switch errno {
    case .noSuchFileOrDirectory where mode.isWithoutIOMMU && bus.hasNode("vfio/\(number)"):
      "the function is behind an IOMMU: use a mode with an IOMMU"
    case .noSuchFileOrDirectory where bus.hasNode("vfio/noiommu-\(number)"):
      "there is no IOMMU; only --mode noiommu or compat-noiommu, asked for by name, opens the group without one"
    case .notPermitted where mode.isWithoutIOMMU: NoIOMMUSwitch.privilegeRemedy
    case .noSuchFileOrDirectory, .operationNotSupportedByDevice, .noSuchAddressOrDevice:
      "no function of IOMMU group \(number) is bound to vfio-pci; vfioctl bind BDF does it"
    case .resourceBusy: DeviceHolders.remedy(for: path, on: bus)
    case .permissionDenied: "run as root, or give your user this node: chown $USER \(path)"
    default: nil
    }
  }

  private static func viabilityRemedy(_ number: Int, on bus: PCIBus) -> String {
    guard let group = try? bus.group(number) else { return "a member of the group is held by another driver" }
    return group.blockerRemedy ?? "all members look free now; try again"
  }
}

extension PCIBus {
  /// Whether there is such a node below `/dev`.
  fileprivate func hasNode(_ name: String) -> Bool {
    let path = root.path("dev/\(name)")
    return unsafe path.withCString { unsafe abi_access($0) } == 0
  }
}
