// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// Which driver each function has now, read back.
struct BindingReport {
  private struct Row: Encodable {
    let address: String
    let driver: String?
    let vfioGroup: String?
    let vfioDevice: String?
  }
  private let rows: [Row]

  init(_ addresses: [PCIAddress]) throws {
    let bus = PCIBus()
    rows = try addresses.map { address in
      let function = try bus.function(at: address)
      let isLent = function.isBoundToVFIO
      return Row(
        address: address.description, driver: function.driver,
        vfioGroup: isLent ? function.iommuGroup.map { "/dev/vfio/\($0)" } : nil,
        vfioDevice: isLent ? function.vfioDeviceName.map { "/dev/vfio/devices/\($0)" } : nil)
    }
  }

  func print(as output: OutputOptions) throws {
    if output.json { return try JSONOutput.print(rows) }
    for row in rows {
      let nodes = [row.vfioGroup, row.vfioDevice].compactMap { $0 }.joined(separator: ", ")
      Swift.print("\(row.address): \(row.driver ?? "no driver")\(nodes.isEmpty ? "" : " (\(nodes))")")
    }
  }
}
