// SPDX-License-Identifier: Apache-2.0

/// One object of a context as this process knows it: a fact of the moment, not the object itself.
public struct IOMMUFDObject: Hashable, Sendable {
  /// What an object is.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    /// An ``IOMMUFD/IOAS``.
    case ioas = "IOAS"
    /// A bound device: ``IOMMUFDDevice``.
    case device
    /// An ``HWPageTable``.
    case pageTable = "HWPT"
    /// A ``FaultQueue``.
    case faultQueue = "fault queue"
    /// A ``VIOMMU``.
    case viommu = "vIOMMU"
    /// A ``VDevice``.
    case vdevice
    /// A ``VEventQueue``.
    case veventQueue = "vevent queue"
    /// An ``HWQueue``.
    case hwQueue = "HW queue"
  }

  /// What one object needs another one for.
  public struct Use: Hashable, Sendable {
    /// The one that is needed.
    public let id: IOMMUFDObjectID
    /// For what, in a word or two: `"maps"`, `"PASID 7"`.
    public let role: String

    package init(id: IOMMUFDObjectID, role: String) {
      self.id = id
      self.role = role
    }
  }

  /// Its number.
  public let id: IOMMUFDObjectID
  /// What it is.
  public let kind: Kind
  /// What is special about it; empty where nothing is.
  public let label: String
  /// What it needs; these cannot go before it.
  public internal(set) var uses: [Use]

  package init(id: IOMMUFDObjectID, kind: Kind, label: String, uses: [Use]) {
    self.id = id
    self.kind = kind
    self.label = label
    self.uses = uses
  }
}

extension IOMMUFDObject: CustomStringConvertible {
  /// One line: kind, number, label.
  public var description: String {
    label.isEmpty ? "\(kind.rawValue) \(id)" : "\(kind.rawValue) \(id) (\(label))"
  }
}
