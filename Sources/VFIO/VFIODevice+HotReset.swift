// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
public import LinuxHandles
internal import PCIBus
internal import SystemPackage

extension VFIODevice {
  /// Asks which functions a hot reset of this device's bus or slot would reset, and who owns them.
  /// - Throws: `KernelError` for `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`: `ENODEV` where neither the slot nor the
  ///   bus can be reset, as on a root bus.
  public borrowing func hotResetInfo() throws(KernelError) -> VFIOHotResetInfo {
    do throws(KernelError) {
      return try VFIOHotResetInfo(of: handle, subject: "\(address)")
    } catch {
      throw Self.advisingOnBus(error)
    }
  }

  /// Resets the whole bus or slot that the device is on, with all functions there, and forbids DMA of this one.
  ///
  /// Vectors stay armed, of all functions; a line of this one waits no more for `rearm()`.
  ///
  /// The kernel wants a proof that everything which it resets is the caller's. A device that was opened by its
  /// own node proves it by its iommufd: all functions are bound to it. One that was opened through its group
  /// proves it by the open groups; its own need not be given.
  /// - Parameter groups: The other groups that have functions there.
  /// - Throws: `KernelError` for `VFIO_DEVICE_PCI_HOT_RESET`: `EINVAL` where a function is not the caller's,
  ///   named in the remedy, or where the bus has virtual functions; `ENODEV` where neither slot nor bus can be
  ///   reset; `EBUSY` or `EAGAIN` where another thread uses one of the devices for 2 s; `ENOTTY` where the device
  ///   did not come back from the reset.
  public borrowing func hotReset(owning groups: [VFIOGroup] = []) throws(KernelError) {
    var tries = 0
    try resetBus(owning: groups, tries: &tries)
    try interrupts.restore()
    // The kernel restores the command register that it saved, bus master included.
    try configuration.setBusMaster(false)
  }

  /// Resets the bus or slot; the command register is as before.
  /// - Parameter tries: Counts how often it was tried.
  borrowing func resetBus(owning groups: [VFIOGroup], tries: inout Int) throws(KernelError) {
    var owned: [VFIOGroup] = []
    if let own = handle.group {
      owned = [own]
      for group in groups where !owned.contains(where: { $0 === group }) { owned.append(group) }
    }
    let descriptors = owned.map(\.descriptor)
    defer { extendLifetime(owned) }
    do throws(KernelError) {
      try Self.retryingReset(&tries) { () throws(KernelError) in
        try handle.call("VFIO_DEVICE_PCI_HOT_RESET", on: "\(address)") {
          unsafe abi_vfio_device_pci_hot_reset($0, descriptors, UInt32(descriptors.count))
        }
      }
    } catch {
      guard error.errno == .invalidArgument else { throw Self.advisingOnBus(error) }
      throw error.advising(strangersRemedy(owning: Set(owned.map(\.number))))
    }
  }

  private borrowing func strangersRemedy(owning groups: Set<Int>) -> String? {
    guard let info = try? hotResetInfo() else { return nil }
    let bus = PCIBus()
    var facts: [PCIAddress: PCIFunctionInfo] = [:]
    for function in info.functions { facts[function.address] = try? bus.function(at: function.address) }
    let virtual = info.functions.map(\.address).filter { facts[$0]?.physicalFunction != nil }
    if !virtual.isEmpty {
      return "the bus has virtual functions (\(virtual.map(\.description).joined(separator: ", "))), and the "
        + "kernel resets no bus that has some, whoever owns them; destroy them first"
    }
    var strangers = info.strangers(owning: groups).map(\.address)
    if strangers.isEmpty {
      // Owned by group, and still refused: the kernel wants VFIO's driver on each of them.
      strangers = info.functions.map(\.address).filter { facts[$0]?.isBoundToVFIO != true }
    }
    guard !strangers.isEmpty else { return nil }
    let names = strangers.map { "\($0) (\(facts[$0]?.driver ?? "no driver"))" }
    return
      "the reset would reach functions that are not shown to be yours: \(names.joined(separator: ", ")); "
      + "bind them to vfio-pci and open their groups, or bind their devices to the same iommufd"
  }

  private static func advisingOnBus(_ error: KernelError) -> KernelError {
    error.errno == .operationNotSupportedByDevice
      ? error.advising("neither the slot nor the bus of the function can be reset, as on a root bus") : error
  }
}
