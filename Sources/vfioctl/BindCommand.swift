// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import PCIBus

/// The command `vfioctl bind BDF…`.
struct BindCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bind", abstract: "Lend functions to userspace: bind them to vfio-pci.",
    discussion: """
      What each function was bound to is written to /run/swift-vfio before the first change; vfioctl restore \
      brings all back, also after a crash. All functions are bound, or none.

      Refused are bridges, functions whose disks are mounted or in use, whose network interface carries an \
      address or a route, the boot display, and functions whose group has members held by other drivers. \
      --force passes over the last three.
      """)

  @Argument(help: "The functions' addresses.", transform: parseAddress)
  var addresses: [PCIAddress]
  @Option(help: "The driver to bind to.")
  var driver = "vfio-pci"
  @Flag(help: "Pass over refusals that cost no data: network in use, boot display, other group members.")
  var force = false
  @OptionGroup var output: OutputOptions

  func run() throws {
    try reportingFailures {
      try DriverBinding().bind(addresses, to: driver, force: force)
      try BindingReport(addresses).print(as: output)
    }
  }
}

/// The command `vfioctl unbind BDF…`.
struct UnbindCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unbind", abstract: "Take functions from their drivers and leave them with none.",
    discussion: "Journaled and refused as by bind; vfioctl restore brings the drivers back.")

  @Argument(help: "The functions' addresses.", transform: parseAddress)
  var addresses: [PCIAddress]
  @Flag(help: "Pass over refusals that cost no data.")
  var force = false
  @OptionGroup var output: OutputOptions

  func run() throws {
    try reportingFailures {
      try DriverBinding().unbind(addresses, force: force)
      try BindingReport(addresses).print(as: output)
    }
  }
}

/// The command `vfioctl restore [BDF…]`.
struct RestoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Bring functions back to the drivers they had before bind or unbind.",
    discussion: "Without addresses: all that the journal knows. Can be repeated at will.")

  @Argument(help: "The functions' addresses.", transform: parseAddress)
  var addresses: [PCIAddress] = []
  @OptionGroup var output: OutputOptions

  func run() throws {
    try reportingFailures {
      let restored = try DriverBinding().restore(addresses.isEmpty ? nil : addresses)
      if restored.isEmpty && !output.json { return print("Nothing to restore.") }
      try BindingReport(restored).print(as: output)
    }
  }
}

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
