// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles
internal import SystemPackage

/// The driver of one function: which it is, and the steps that change it.
///
/// Source: `driver_override` and `drivers_probe` of Documentation/ABI/testing/sysfs-bus-pci; drivers/base/bus.c.
struct FunctionDriver {
  struct State: Hashable {
    /// The driver that holds it.
    var driver: String?
    /// The only driver that may take it.
    var override: String?
  }

  let address: PCIAddress
  let root: SystemRoot
  /// How long a driver may take to come or go after the kernel has returned.
  let settleLimit: Duration

  private var folder: String { PCIBus.folder(address) }

  func isPresent() throws(KernelError) -> Bool { try root.exists(folder) }

  func state() throws(KernelError) -> State {
    State(
      driver: try root.linkName("\(folder)/driver"),
      override: try PCIBus(root: root).driverOverride(of: address))
  }

  static func exists(_ driver: String, root: SystemRoot) throws(KernelError) {
    let folder = "sys/bus/pci/drivers/\(driver)"
    if try root.exists(folder) { return }
    let advice =
      driver == "vfio-pci"
      ? "`modprobe vfio-pci`; a kernel without modules needs CONFIG_VFIO_PCI=y."
      : "`modprobe \(driver)`; a kernel without modules needs this driver built in."
    throw KernelError(
      operation: "find driver", errno: .noSuchFileOrDirectory, subject: root.path(folder), remedy: advice)
  }

  /// Brings the function from one state to another driver; `nil` leaves it with none.
  func change(from before: State, to target: String?) throws(KernelError) {
    if let target, before.override != target { try setOverride(target) }
    if before.driver != nil { try detach() }
    if let target { try probe(expecting: target) }
  }

  /// Brings the function back to a state, whatever it is in now.
  ///
  /// Does nothing twice.
  func put(_ wanted: State) throws(KernelError) {
    let now = try state()
    if now.driver != wanted.driver {
      // With the override the probe finds exactly this driver, also where several match.
      if let driver = wanted.driver {
        try Self.exists(driver, root: root)
        if now.override != driver { try setOverride(driver) }
      }
      if now.driver != nil { try detach() }
      if let driver = wanted.driver { try probe(expecting: driver) }
    }
    if try state().override != wanted.override { try setOverride(wanted.override) }
  }

  /// Only "\n" takes an override away: an empty write does not reach the kernel.
  private func setOverride(_ driver: String?) throws(KernelError) {
    try root.write(driver ?? "\n", to: "\(folder)/driver_override")
  }

  private func detach() throws(KernelError) {
    guard let driver = try state().driver else { return }
    if IOMMUGroup.isVFIODriver(driver) { try refuseWhileOpen() }
    do throws(KernelError) {
      try root.write(address.description, to: "\(folder)/driver/unbind")
    } catch {
      // ENOENT and ENODEV: it was gone before.
      guard [.noSuchFileOrDirectory, .operationNotSupportedByDevice].contains(error.errno) else {
        throw error
      }
    }
    let left = try settled { $0 == nil }
    if let left {
      throw KernelError(
        operation: "unbind", errno: .resourceBusy, subject: address.description,
        remedy: "The driver \(left) did not let go of it.")
    }
  }

  private func probe(expecting driver: String) throws(KernelError) {
    try root.write(address.description, to: "sys/bus/pci/drivers_probe")
    let now = try settled { $0 == driver }
    if now == driver { return }
    throw KernelError(
      operation: "drivers_probe",
      errno: now == nil ? .operationNotSupportedByDevice /* ENODEV */ : .resourceBusy,
      subject: address.description,
      remedy: now.map { "The driver \($0) took it, not \(driver)." } ?? refusalRemedy(of: driver))
  }

  private func refusalRemedy(of driver: String) -> String {
    let facts = try? PCIBus(root: root).function(at: address)
    if IOMMUGroup.isVFIODriver(driver), facts?.iommuGroup == nil {
      return
        "\(driver) takes no function without an IOMMU group: there is no IOMMU, or it is off. Switch VT-d or "
        + "AMD-Vi on in the firmware, and boot Linux with intel_iommu=on. The kernel's no-IOMMU mode is off too: see "
        + "VFIOMode.noIOMMU."
    }
    return
      "The driver \(driver) did not take it; the end of `dmesg` says why, and `modprobe \(driver)` loads it."
  }

  /// Waits until the driver is as wanted, or the time is over; the driver that is there then.
  ///
  /// The step was made, so a failure to look is no reason to give up before the time is over: whoever puts
  /// things back must not find the step half done.
  private func settled(_ isWanted: (String?) -> Bool) throws(KernelError) -> String? {
    let end = ContinuousClock.now + settleLimit
    while true {
      do throws(KernelError) {
        let driver = try root.linkName("\(folder)/driver")
        if isWanted(driver) || ContinuousClock.now >= end { return driver }
      } catch {
        if ContinuousClock.now >= end { throw error }
      }
      _ = abi_sleep(1_000_000)
    }
  }

  /// The kernel would wait, without end, until the last user closes the device.
  func refuseWhileOpen() throws(KernelError) {
    var nodes: [String] = []
    if let group = try root.linkName("\(folder)/iommu_group") {
      nodes += ["/dev/vfio/\(group)", "/dev/vfio/noiommu-\(group)"]
    }
    nodes += try root.names(in: "\(folder)/vfio-dev").map { "/dev/vfio/devices/\($0)" }
    for node in nodes {
      let holders = DeviceHolders.processes(holding: node, root: root).map(\.description)
      if holders.isEmpty { continue }
      throw KernelError(
        operation: "unbind", errno: .resourceBusy, subject: address.description,
        remedy:
          "\(node) is open in process \(holders.joined(separator: ", ")): let it close the device first.")
    }
  }
}
