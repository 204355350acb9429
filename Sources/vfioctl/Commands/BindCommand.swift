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
