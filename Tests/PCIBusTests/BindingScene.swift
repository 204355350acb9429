// SPDX-License-Identifier: Apache-2.0
import PCIBus
import TestSupport
import Testing

/// A machine with an NVMe, a two-function network card and a driverless function, and a driver core that answers.
final class BindingScene {
  static let nvme = address("0000:00:02.0")
  static let port0 = address("0000:00:03.0")
  static let port1 = address("0000:00:03.1")
  static let idle = address("0000:00:04.0")

  let tree: FakeSysfs
  let responder: SysfsResponder
  let root: SystemRoot

  init() throws {
    tree = try FakeSysfs()
    try tree.addDriver("vfio-pci")
    try tree.addFunction("0000:00:02.0", driver: "nvme", group: 1)
    try tree.addFunction("0000:00:03.0", classCode: "0x020000", driver: "igb", group: 2)
    try tree.addFunction("0000:00:03.1", classCode: "0x020000", driver: "igb", group: 2)
    try tree.addFunction("0000:00:04.0", classCode: "0xff0000", group: 3)
    responder = try SysfsResponder(tree)
    root = SystemRoot(tree.path)
  }

  deinit { responder.stop() }

  /// Nothing that a machine's own network could disturb, and more time than a loaded machine needs.
  var binding: DriverBinding { binding(NetworkState()) }

  /// - Parameter settleLimit: Waited for in full where a driver refuses.
  func binding(_ network: NetworkState = .init(), settleLimit: Duration = .seconds(60)) -> DriverBinding {
    DriverBinding(root: root, network: network, settleLimit: settleLimit)
  }

  func driver(_ address: PCIAddress) -> String? { tree.linkName("\(FakeSysfs.device("\(address)"))/driver") }

  func override(_ address: PCIAddress) -> String? {
    let text = tree.text("\(FakeSysfs.device("\(address)"))/driver_override")?.split(separator: "\n").first
    return text == nil || text == "(null)" ? nil : text.map { String($0) }
  }

  var journal: [String] { tree.names("run/swift-vfio/bindings").filter { !$0.hasPrefix(".") } }

  /// Everything as it was at the start, and nothing in the journal.
  func expectUntouched(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
    responder.drain()
    let drivers = [Self.nvme, Self.port0, Self.port1, Self.idle].map(driver)
    #expect(drivers == ["nvme", "igb", "igb", nil], comment, sourceLocation: sourceLocation)
    let overrides = [Self.nvme, Self.port0, Self.port1, Self.idle].map(override)
    #expect(overrides == [nil, nil, nil, nil], comment, sourceLocation: sourceLocation)
    #expect(journal == [], comment, sourceLocation: sourceLocation)
  }
}

func address(_ text: String) -> PCIAddress {
  guard let address = PCIAddress(text) else { preconditionFailure("a test wrote \(text)") }
  return address
}
