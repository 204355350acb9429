// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import LinuxHandles
internal import PCIBus

/// The command `vfioctl show BDF`.
struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show all that is known of one function.")

  @Argument(help: "The function's address.", transform: parseAddress)
  var address: PCIAddress
  @OptionGroup var output: OutputOptions

  private struct Record: Encodable {
    struct Capability: Encodable {
      let name: String
      let byteOffset: Int
    }
    let function: FunctionRecord
    let capabilities: [Capability]
    let capabilitiesComplete: Bool
    let groupMembers: [String]
    let groupBlockers: [String]
  }

  func run() throws {
    try reportingFailures {
      let bus = PCIBus()
      let function = try bus.function(at: address)
      let space = try SysfsConfigurationSpace(of: address, root: bus.root)
      let walks = [try space.capabilityWalk(), try space.extendedCapabilityWalk()]
      let group = try function.iommuGroup.map { try bus.group($0) }
      let record = Record(
        function: FunctionRecord(function, names: PCINameDatabase()),
        capabilities: walks.flatMap(\.capabilities).map {
          Record.Capability(name: $0.id.description, byteOffset: $0.byteOffset)
        },
        capabilitiesComplete: walks.allSatisfy { $0.ending == .complete },
        groupMembers: group?.members.map(\.description) ?? [],
        groupBlockers: group?.blockers.map(\.description) ?? [])
      output.json ? try JSONOutput.print(record) : printText(record, function, walks)
    }
  }

  private func printText(_ record: Record, _ function: PCIFunctionInfo, _ walks: [CapabilityWalk]) {
    let facts = record.function
    func row(_ name: String, _ value: String?) {
      guard let value, !value.isEmpty else { return }
      print("\(name):\(String(repeating: " ", count: max(1, 16 - name.count)))\(value)")
    }
    print("\(facts.address)  \(facts.vendorName ?? facts.vendorID) \(facts.deviceName ?? facts.deviceID)")
    row("Class", "\(facts.classCode) \(facts.className ?? "")")
    row("ID", "\(facts.vendorID):\(facts.deviceID), subsystem \(facts.subsystem), revision \(facts.revision)")
    row("Driver", facts.driver ?? "none")
    row("Override", facts.driverOverride)
    row("VFIO node", facts.vfioDevice.map { "/dev/vfio/devices/\($0)" })
    row("NUMA node", facts.numaNode.map(String.init))
    row(
      "IOMMU group",
      facts.iommuGroup.map { "\($0): \(record.groupMembers.joined(separator: ", "))" } ?? "none")
    row("Blocked by", record.groupBlockers.joined(separator: ", "))
    for bar in function.bars {
      row(
        "\(bar.index)",
        "\(bar.kind), \(ByteCount(bar.byteCount))\(bar.isPrefetchable ? ", prefetchable" : "")")
    }
    if let counts = function.virtualFunctionCounts {
      row("SR-IOV", "\(counts.enabled) of \(counts.total) virtual functions")
    }
    row("Virtual of", facts.physicalFunction)
    row("Boot VGA", facts.isBootVGA ? "yes" : nil)
    for capability in record.capabilities {
      row("Capability", "\(capability.name) at 0x\(String(capability.byteOffset, radix: 16))")
    }
    for walk in walks where walk.ending != .complete {
      row("Note", "the list of capabilities ended early: \(walk.ending)")
    }
  }
}
