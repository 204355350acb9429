// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import PCIBus

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
