// SPDX-License-Identifier: Apache-2.0
internal import ArgumentParser
internal import PCIBus

/// The command `vfioctl groups`.
struct GroupsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "groups", abstract: "List the IOMMU groups, and what keeps one from being used.",
    discussion: """
      A group can be given to userspace when each of its members is bound to a VFIO driver, pci-stub, a port \
      driver, or nothing. --dot draws the groups: vfioctl groups --dot | dot -Tsvg > groups.svg
      """)

  @Flag(help: "Print a graph in the DOT language.")
  var dot = false
  @OptionGroup var output: OutputOptions

  private struct Record: Encodable {
    let group: Int
    let kind: String?
    let members: [String]
    let blockers: [String]
    let isViable: Bool
  }

  func run() throws {
    try reportingFailures {
      let bus = PCIBus()
      let functions = try bus.functions()
      let groups = try Set(functions.compactMap(\.iommuGroup)).sorted().map { try bus.group($0) }
      if output.json {
        return try JSONOutput.print(
          groups.map {
            Record(
              group: $0.number, kind: $0.kind?.rawValue, members: $0.members.map(\.name),
              blockers: $0.blockers.map(\.description), isViable: $0.isViable)
          })
      }
      if dot { return GroupGraph(groups: groups, functions: functions).lines().forEach { print($0) } }
      if groups.isEmpty {
        return print("No IOMMU groups: there is no IOMMU, or it is off (firmware setting; intel_iommu=on).")
      }
      var table = TextTable(["GROUP", "VIABLE", "TYPE", "MEMBERS"])
      for group in groups {
        table.append([
          String(group.number), group.isViable ? "yes" : "no", group.kind?.rawValue ?? "-",
          group.members.map(\.description).joined(separator: ", "),
        ])
      }
      for line in table.lines() { print(line) }
    }
  }
}
