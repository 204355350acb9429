// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import PCIBus

extension DeviceHolders {
  /// Advice for an `EBUSY`: who has the node open, as far as this process may see.
  static func remedy(for path: String, on bus: PCIBus) -> String {
    let holders = processes(holding: path, root: bus.root)
    return holders.isEmpty
      ? "another process has \(path) open"
      : "held by process \(holders.map(\.description).joined(separator: ", "))"
  }

  /// The same for a node that this process has just opened itself.
  static func otherHolders(of path: String, on bus: PCIBus) -> String {
    let others = processes(holding: path, root: bus.root).filter { $0.processID != Int(getpid()) }
    return others.isEmpty
      ? "the device is open already, perhaps in this process (\(getpid()))"
      : "held by process \(others.map(\.description).joined(separator: ", "))"
  }
}
