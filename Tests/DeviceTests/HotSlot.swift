// SPDX-License-Identifier: Apache-2.0
import DriverCore
import Glibc
import PCIBus
import TestSupport
import Testing

/// The empty slot of the lab's machines, into which a test plugs a device.
enum HotSlot {
  static func isPresent(_ address: PCIAddress) -> Bool {
    unsafe access("/sys/bus/pci/devices/\(address)", F_OK) == 0
  }

  /// Plugs a device into the slot.
  static func plug(
    _ model: String, on monitor: LabMonitor, _ properties: [String: Any] = [:]
  ) throws -> PCIAddress {
    let address = LabFunction.address("0000:02:00.0")
    try monitor.plug(model, id: "hot", bus: "rp2", properties)
    try Deadline(.seconds(60)).poll("the plugged device") { isPresent(address) }
    return address
  }

  /// Plugs a device in, runs a body that leaves it closed, and pulls it out.
  static func withDevice(
    _ model: String, on monitor: LabMonitor, _ body: (PCIAddress) throws -> Void
  ) throws {
    let address = try plug(model, on: monitor)
    let outcome = Result { try body(address) }
    try monitor.unplug("hot")
    try requireUnplugged(address, on: monitor)
    try outcome.get()
  }

  static func requireUnplugged(_ address: PCIAddress, on monitor: LabMonitor) throws {
    try Deadline(.seconds(60)).poll("the kernel to let the device go") { !isPresent(address) }
    // QEMU takes it away when the slot is off; then its id is free.
    try Deadline(.seconds(60)).poll("QEMU to take the device away") {
      (try? monitor.humanCommand("info qtree"))?.contains("id \"hot\"") == false
    }
  }
}
