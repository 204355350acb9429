// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import PCIBus

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
