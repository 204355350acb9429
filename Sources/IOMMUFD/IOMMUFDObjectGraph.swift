// SPDX-License-Identifier: Apache-2.0

/// The objects of a context at one moment, and what each needs.
///
/// It knows what this library made or bound in the context; the page tables that the kernel makes on its own for devices
/// attached to an IOAS are named where the device is.
public struct IOMMUFDObjectGraph: Hashable, Sendable {
  /// The objects, by number.
  public let objects: [IOMMUFDObject]

  package init(objects: [IOMMUFDObject]) { self.objects = objects }

  /// The objects that need this one.
  public func users(of id: IOMMUFDObjectID) -> [IOMMUFDObject] {
    objects.filter { object in object.uses.contains { $0.id == id } }
  }

  /// Lines for people: each object, and below it what it needs.
  public func lines() -> [String] {
    let known = Dictionary(uniqueKeysWithValues: objects.map { ($0.id, $0) })
    return objects.flatMap { object in
      ["\(object)"]
        + object.uses.map { use in
          "  \(use.role) -> \(known[use.id].map { "\($0)" } ?? "object \(use.id)")"
        }
    }
  }

  /// The graph in the DOT language, a line each; an arrow leads from an object to what it needs.
  public func dotLines() -> [String] {
    let font = "fontname=\"Helvetica,sans-serif\""
    var lines = [
      "digraph iommufd {",
      "  graph [rankdir=LR, nodesep=0.3, ranksep=0.9, pad=0.2];",
      "  node [shape=box, style=\"filled,rounded\", color=gray40, margin=\"0.16,0.08\", \(font), fontsize=12];",
      "  edge [color=gray40, arrowsize=0.7, \(font), fontsize=10, fontcolor=gray25];",
    ]
    for object in objects {
      let text = [object.kind.rawValue + " \(object.id)", object.label].filter { !$0.isEmpty }
        .map(Self.escaped).joined(separator: "\\n")
      lines.append("  o\(object.id) [label=\"\(text)\", fillcolor=\(Self.color(of: object.kind))];")
    }
    for object in objects {
      for use in object.uses {
        lines.append("  o\(object.id) -> o\(use.id) [label=\"\(Self.escaped(use.role))\"];")
      }
    }
    return lines + ["}"]
  }

  private static func color(of kind: IOMMUFDObject.Kind) -> String {
    switch kind {
    case .ioas: "lightblue"
    case .device, .vdevice: "lightyellow"
    case .pageTable: "honeydew"
    case .viommu: "lavender"
    case .faultQueue, .veventQueue, .hwQueue: "mistyrose"
    }
  }

  private static func escaped(_ text: String) -> String {
    text.reduce(into: "") { $0 += $1 == "\"" || $1 == "\\" ? "\\\($1)" : "\($1)" }
  }
}

extension IOMMUFDContext {
  /// The objects that live in this context at this moment.
  ///
  /// A lock and a copy; making it costs the objects themselves nothing.
  public var objects: IOMMUFDObjectGraph { IOMMUFDObjectGraph(objects: registry.objects) }
}
