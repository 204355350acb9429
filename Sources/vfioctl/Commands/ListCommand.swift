// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import PCIBus

/// The command `vfioctl list`.
struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the PCI functions, their drivers and IOMMU groups.")

  @OptionGroup var output: OutputOptions

  func run() throws {
    try reportingFailures {
      let functions = try PCIBus().functions()
      let names = PCINameDatabase()
      if output.json {
        return try JSONOutput.print(functions.map { FunctionRecord($0, names: names) })
      }
      var table = TextTable(["ADDRESS", "ID", "GROUP", "NODE", "DRIVER", "NAME"])
      for function in functions {
        let found = names.names(of: function)
        let name = [found.vendor, found.device].compactMap { $0 }.joined(separator: " ")
        table.append([
          function.address.description,
          "\(function.vendorID.hexadecimal):\(function.deviceID.hexadecimal)",
          function.iommuGroup.map(String.init) ?? "-", function.numaNode.map(String.init) ?? "-",
          function.driver ?? "-",
          [found.classCode, name.isEmpty ? nil : name].compactMap { $0 }.joined(separator: ": "),
        ])
      }
      for line in table.lines() { print(line) }
    }
  }
}
