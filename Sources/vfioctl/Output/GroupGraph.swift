// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// The IOMMU groups as a graph in the DOT language: a box for each group, a node for each member.
struct GroupGraph {
  let groups: [IOMMUGroup]
  let functions: [PCIFunctionInfo]

  func lines() -> [String] {
    let names = PCINameDatabase()
    let known = Dictionary(uniqueKeysWithValues: functions.map { ($0.address.description, $0) })
    let font = "fontname=\"Helvetica,sans-serif\""
    // By default all groups would lie in one row, however many there are.
    var lines = [
      "graph iommu_groups {",
      "  graph [layout=osage, pack=14, style=rounded, color=gray60, \(font), fontsize=12, fontcolor=gray25];",
      "  node [shape=box, style=\"filled,rounded\", fillcolor=white, color=gray40, margin=\"0.16,0.08\", \(font), "
        + "fontsize=11];",
    ]
    for group in groups {
      lines.append("  subgraph cluster_\(group.number) {")
      lines.append("    label=\"group \(group.number)\(group.isViable ? "" : " (not viable)")\";")
      for member in group.members {
        let device = known[member.name].flatMap { names.names(of: $0).device } ?? ""
        let label = [member.name, device, member.driver ?? "no driver"].filter { !$0.isEmpty }
          .map { escaped($0) }.joined(separator: "\\n")
        let isBlocker = group.blockers.contains(member)
        lines.append(
          "    \"\(member.name)\" [label=\"\(label)\"\(isBlocker ? ", fillcolor=mistyrose" : "")];")
      }
      lines.append("  }")
    }
    return lines + ["}"]
  }

  private func escaped(_ text: String) -> String {
    text.reduce(into: "") { $0 += $1 == "\"" || $1 == "\\" ? "\\\($1)" : "\($1)" }
  }
}
