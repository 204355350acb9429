// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

extension DeviceHolders {
  /// Advice for an `EBUSY`: who has the node open, as far as this process may see.
  static func remedy(for path: String, on bus: PCIBus) -> String {
    let holders = processes(holding: path, root: bus.root)
    return holders.isEmpty
      ? "another process has \(path) open"
      : "held by process \(holders.map(\.description).joined(separator: ", "))"
  }
}
