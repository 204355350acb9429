// SPDX-License-Identifier: Apache-2.0
internal import DMACore
internal import IOMMUFD
public import LinuxHandles
public import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Opens the function at an address with an address space of its own.
  /// - Parameters:
  ///   - mode: A mode that must be used, or nil for the best that there is: iommufd where the kernel has it
  ///     and the function has a node, else the container. Only absence changes the choice; an error does not. A
  ///     mode without an IOMMU is never chosen.
  ///   - token: For functions that take part in SR-IOV under vfio-pci; see ``init(_:in:token:near:)``.
  /// - Throws: `KernelError`; the remedy says what is missing: no such function, not bound, no IOMMU, no
  ///   permission, taken by another process, a group that is not viable.
  public static func open(
    _ address: PCIAddress, mode: VFIOMode? = nil, token: VFToken? = nil, on bus: PCIBus = PCIBus()
  ) throws(KernelError) -> VFIODevice {
    let function = try bus.functionToOpen(at: address)
    if mode?.isWithoutIOMMU == true { try NoIOMMUSwitch.check(for: address, on: bus) }
    guard function.isBoundToVFIO else {
      throw KernelError(
        operation: "open", errno: .operationNotSupportedByDevice, subject: "\(address)",
        remedy: "it is bound to \(function.driver ?? "no driver"); bind it first: vfioctl bind \(address)")
    }
    switch mode ?? preferredMode(for: function) {
    case let mode where !mode.usesGroup:
      return try VFIODevice(function, in: IOAS(in: IOMMUFDContext()), mode: mode, token: token, on: bus)
    case let mode:
      guard let number = function.iommuGroup else {
        throw KernelError(
          operation: "open", errno: .operationNotSupportedByDevice, subject: "\(address)",
          remedy: "it has no IOMMU group: there is no IOMMU, or it is off; switch VT-d or AMD-Vi on in the "
            + "firmware, and boot Linux with intel_iommu=on")
      }
      let group = try VFIOGroup(number, joining: VFIOContainer(mode: mode), on: bus)
      return try VFIODevice(
        address, in: group, token: token, near: function.numaNode.map { NUMANode(number: $0) })
    }
  }

  /// The mode that ``open(_:mode:token:on:)`` takes when none is asked for.
  public static func preferredMode(for function: PCIFunctionInfo) -> VFIOMode {
    guard function.vfioDeviceName != nil else { return .type1v2 }
    do throws(KernelError) {
      _ = try OwnedDescriptor.open("/dev/iommu", for: .readWrite)
      return .iommufd
    } catch {
      return error.errno == .noSuchFileOrDirectory || error.errno == .operationNotSupportedByDevice
        ? .type1v2 : .iommufd
    }
  }
}

extension PCIFunctionInfo {
  /// The name of the node of its own in a mode without groups.
  func deviceName(in mode: VFIOMode) -> String? {
    mode.isWithoutIOMMU ? noIOMMUDeviceName : vfioDeviceName
  }

  /// What to say where it has a node, but not in this mode.
  func otherModeRemedy(than mode: VFIOMode) -> String? {
    if mode.isWithoutIOMMU {
      return vfioDeviceName == nil ? nil : "the function is behind an IOMMU: use --mode iommufd"
    }
    return noIOMMUDeviceName == nil
      ? nil : "there is no IOMMU; only --mode noiommu-cdev, asked for by name, opens the function without one"
  }
}
