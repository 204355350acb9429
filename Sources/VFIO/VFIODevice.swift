// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import DMACore
public import DriverCore
public import IOMMUFD
public import LinuxHandles
public import PCIBus
internal import SystemPackage

/// One open PCI device, reached through VFIO: a ``PCIFunction`` for drivers.
///
/// Windows, vectors and memory that it hands out keep it open. ``close()`` wants them gone; dropping the
/// device instead closes it with the last of them. From the opening on, the kernel tells errors of the bus and
/// its wish to have the device back (`events`).
public struct VFIODevice: ~Copyable, PCIFunction, Sendable {
  /// Where it sits on the bus.
  public let address: PCIAddress
  /// By which interface it was opened.
  public let mode: VFIOMode
  /// What it has.
  public let resources: PCIFunctionResources
  /// Its configuration space, as VFIO shows it.
  public let configuration: any ConfigurationSpace
  /// Where its DMA is mapped: an ``IOAS`` or a ``VFIOContainer``.
  public let addressSpace: any AddressSpace
  /// The device as its iommufd has it bound, where it was opened through one: for page tables and PASIDs.
  public let iommufdDevice: IOMMUFDDevice?
  /// What VFIO says of it as a whole.
  public let info: VFIODeviceInfo
  /// The facts of its regions, by index: the nine of every PCI function, then those of its vendor.
  public let regions: [VFIORegionInfo]
  /// Whether windows that are opened from now on are guarded: an access after a reset, or while memory decode is
  /// off, reads all ones and leaves an error in `takeFault()`, instead of SIGBUS ending the process.
  ///
  /// The first guarded window installs a handler of SIGBUS (see ``WindowGuard``); accesses cost the same.
  public var guardsWindows = false
  let handle: VFIODeviceHandle
  let interrupts: VFIOInterruptSource

  /// Opens a device through a group that is open already, in the group's container.
  /// - Parameters:
  ///   - token: For a virtual function: the secret of its physical one. For a physical one without open virtual
  ///     functions: the secret that theirs is to be. Opening is never tried again without it.
  ///   - node: The NUMA node that it is near to (`PCIFunctionInfo.numaNode`), for its resources.
  /// - Throws: `KernelError` for `VFIO_GROUP_GET_DEVICE_FD` (`EACCES`: no token or a wrong one; `EINVAL`: a token
  ///   where none is used) or a question about the device.
  public init(
    _ address: PCIAddress, in group: VFIOGroup, token: VFToken? = nil, near node: NUMANode? = nil
  ) throws(KernelError) {
    let descriptor = try group.open(address, token: token)
    try group.container.deviceOpened()
    try self.init(
      address, VFIODeviceHandle(descriptor, parent: group), mode: group.container.mode,
      addressSpace: group.container, bound: nil, node: node)
  }

  /// Opens a device by its own node, binds it to the context of an IOAS and attaches it there.
  /// - Parameters:
  ///   - function: Its `vfioDeviceName` names the node, or `noIOMMUDeviceName`.
  ///   - mode: `iommufd`, or `noIOMMUDevice`: its memory is then that of a ``NoIOMMUSpace``.
  ///   - token: As for the other way to open; the kernel takes it since Linux 6.17, other than zero since 6.19.
  /// - Throws: `KernelError` for `open`, `VFIO_DEVICE_BIND_IOMMUFD` (`EPERM`: no isolated interrupts; `EINVAL`:
  ///   a non-coherent IOMMU, or a token where none is used; `EBUSY`: another process has it; `EACCES`: no token
  ///   or a wrong one), `VFIO_DEVICE_ATTACH_IOMMUFD_PT`.
  public init(
    _ function: PCIFunctionInfo, in ioas: IOAS, mode: VFIOMode = .iommufd, token: VFToken? = nil,
    on bus: PCIBus = PCIBus()
  ) throws(KernelError) {
    precondition(!mode.usesGroup, "a mode with a group opens the device through it")
    guard let name = function.deviceName(in: mode) else {
      throw KernelError(
        operation: "open", errno: .noSuchFileOrDirectory,
        subject: "the VFIO device node of \(function.address)",
        remedy: function.isBoundToVFIO
          ? function.otherModeRemedy(than: mode)
            ?? "the kernel makes no device nodes (CONFIG_VFIO_DEVICE_CDEV, Linux 6.6); use --mode type1v2"
          : "bind the function first: vfioctl bind \(function.address)")
    }
    let path = "/dev/vfio/devices/\(name)"
    let descriptor = try Self.openNode(path, on: bus)
    let fd = descriptor.rawValue
    var bind = abi_vfio_device_bind_iommufd()
    bind.iommufd = ioas.context.descriptor
    do throws(KernelError) {
      try Self.bind(fd, &bind, token: token, subject: "\(function.address)")
    } catch {
      throw error.advisingOnToken(token).advising(Self.bindRemedy(for: error.errno, path: path, on: bus))
    }
    let handle = VFIODeviceHandle(descriptor, parent: ioas)
    let bound = try Self.attach(handle, IOMMUFDObjectID(bind.out_devid), at: function.address, to: ioas)
    try self.init(
      function.address, handle, mode: mode, addressSpace: mode.space(of: ioas), bound: bound,
      node: function.numaNode.map { NUMANode(number: $0) })
  }

  init(
    _ address: PCIAddress, _ handle: VFIODeviceHandle, mode: VFIOMode, addressSpace: any AddressSpace,
    bound: IOMMUFDDevice?, node: NUMANode?
  ) throws(KernelError) {
    let fd = handle.descriptor
    let subject = address.description
    let info = try VFIODeviceInfo(of: fd, subject: subject)
    var regions: [VFIORegionInfo] = []
    for index in 0..<info.regionCount {
      regions.append(try VFIORegionInfo(VFIORegionIndex(UInt32(index)), of: fd, subject: subject))
    }
    guard info.isPCI, let configuration = regions.first(where: { $0.index == .configuration }) else {
      throw KernelError(
        operation: "VFIO_DEVICE_GET_INFO", errno: .operationNotSupportedByDevice, subject: subject,
        remedy: "this is no PCI device of VFIO, or it has no configuration space")
    }
    interrupts = try VFIOInterruptSource(
      of: handle, indexCount: UInt32(info.interruptIndexCount), subject: subject)
    self.address = address
    self.mode = mode
    self.addressSpace = addressSpace
    iommufdDevice = bound
    self.info = info
    self.regions = regions
    self.configuration = VFIOConfigurationSpace(of: handle, region: configuration, subject: subject)
    resources = PCIFunctionResources(
      barByteCounts: PCIBAR.Index.allCases.map { Int(regions[$0.rawValue].byteCount) },
      vectorCounts: interrupts.vectorCounts, isResettable: info.isResettable, node: node)
    self.handle = handle
  }

  private static func openNode(_ path: String, on bus: PCIBus) throws(KernelError) -> OwnedDescriptor {
    do throws(KernelError) {
      return try OwnedDescriptor.open(path, for: .readWrite)
    } catch {
      switch error.errno {
      case .permissionDenied:
        throw error.advising("run as root, or give your user this node: chown $USER \(path)")
      case .notPermitted: throw error.advising(NoIOMMUSwitch.privilegeRemedy)
      case .resourceBusy: throw error.advising(DeviceHolders.remedy(for: path, on: bus))
      default: throw error
      }
    }
  }

  /// Attaches a device that is bound to an iommufd to an address space there, and learns which addresses are left.
  static func attach(
    _ handle: VFIODeviceHandle, _ id: IOMMUFDObjectID, at address: PCIAddress, to ioas: IOAS
  ) throws(KernelError) -> IOMMUFDDevice {
    var command = abi_vfio_device_attach_iommufd_pt()
    command.pt_id = ioas.id.rawValue
    let fd = handle.descriptor
    try kernelCall("VFIO_DEVICE_ATTACH_IOMMUFD_PT", on: "\(address), \(ioas.label)") {
      unsafe abi_vfio_device_attach_iommufd_pt(fd, &command)
    }
    try ioas.refreshAllowedRanges()
    return IOMMUFDDevice(
      id, label: address.description, attachedTo: ioas, automatic: IOMMUFDObjectID(command.pt_id),
      calls: VFIOAttachmentCalls(of: handle, subject: address.description))
  }

  private static func bindRemedy(for errno: Errno, path: String, on bus: PCIBus) -> String? {
    switch errno {
    case .notPermitted:
      "the IOMMU cannot keep this device's interrupts apart from others (no interrupt remapping)"
    case .invalidArgument:
      // The kernel's answer for a device that is open elsewhere, and for an IOMMU that it does not take.
      "\(DeviceHolders.otherHolders(of: path, on: bus)); or its IOMMU is not cache coherent"
    case .resourceBusy: DeviceHolders.remedy(for: path, on: bus)
    default: nil
    }
  }

  /// Allows or forbids transfers that the device starts itself.
  public borrowing func setBusMaster(_ isEnabled: Bool) throws(KernelError) {
    try configuration.setBusMaster(isEnabled)
  }

  /// What its interrupts and events come from.
  public var interruptSource: any InterruptSource { interrupts }

  /// Closes the device: the kernel detaches it and gives it back.
  /// - Throws: `KernelError`: `EBUSY` while windows or vectors of it live, or attached PASIDs, or devices of a virtual
  ///   machine that stand for it; the device then closes with the last of them. A device that was revoked is closed
  ///   already, whatever lives.
  public consuming func close() throws(KernelError) {
    let subject = address.description
    let isAttached = !mode.usesGroup
    var handle = handle
    _ = consume self
    guard isKnownUniquelyReferenced(&handle) || handle.isRevoked else {
      throw KernelError(
        operation: "close", errno: .resourceBusy, subject: subject,
        remedy:
          "register windows, interrupt vectors or attached PASIDs of the device are still in use; drop them first"
      )
    }
    if isAttached { try handle.detach() }
  }
}
