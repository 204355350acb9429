// SPDX-License-Identifier: Apache-2.0

/// The functions that an IOMMU cannot tell apart: they are given to a user together or not at all.
///
/// Source: Documentation/driver-api/vfio.rst; /sys/kernel/iommu_groups.
public struct IOMMUGroup: Hashable, Sendable {
  /// One device of the group and the driver that holds it.
  public struct Member: Hashable, Sendable, CustomStringConvertible {
    /// Its name on its bus; for a PCI function its address.
    public let name: String
    /// The driver that holds it.
    public let driver: String?

    /// Creates a member.
    public init(name: String, driver: String?) {
      self.name = name
      self.driver = driver
    }

    /// Its address, where it is a PCI function.
    public var address: PCIAddress? { PCIAddress(name) }

    /// `0000:01:00.1 (igb)`.
    public var description: String { "\(name) (\(driver ?? "no driver"))" }
  }

  /// The kind of address translation that a group has at the start (`type`).
  public struct Kind: RawRepresentable, Hashable, Sendable {
    /// The kernel's word.
    public let rawValue: String
    /// Takes the kernel's word.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// Translated, unmapped at once.
    public static let dma = Kind(rawValue: "DMA")
    /// Translated, unmapped in batches.
    public static let dmaFlushQueue = Kind(rawValue: "DMA-FQ")
    /// Not translated.
    public static let identity = Kind(rawValue: "identity")
  }

  /// Its number: `/dev/vfio/NUMBER`.
  public let number: Int
  /// Its devices, by name.
  public let members: [Member]
  /// Its kind of translation; nil on kernels that do not say.
  public let kind: Kind?

  /// Creates a group from its parts.
  public init(number: Int, members: [Member], kind: Kind?) {
    self.number = number
    self.members = members
    self.kind = kind
  }

  /// The members that keep the group from being opened through VFIO: those that a driver of the host holds.
  public var blockers: [Member] { blockers(binding: []) }

  /// What would let VFIO open the group, naming each member in the way and its driver; nil where none is.
  public var blockerRemedy: String? {
    let names = blockers.map(\.description).joined(separator: ", ")
    return names.isEmpty
      ? nil
      : "held by other drivers: \(names); bind or unbind them too, or place the device in a slot of its own"
  }

  /// Whether VFIO can open the group: each member unbound, or bound to a VFIO driver, `pci-stub` or `pcieport`.
  public var isViable: Bool { blockers.isEmpty }

  /// The members that would still block the group when some are bound to VFIO.
  /// - Parameter addresses: The functions that are to be bound.
  public func blockers(binding addresses: Set<PCIAddress>) -> [Member] {
    members.filter { member in
      guard let driver = member.driver else { return false }
      if let address = member.address, addresses.contains(address) { return false }
      return !Self.isVFIODriver(driver) && driver != "pci-stub" && driver != "pcieport"
    }
  }

  /// Whether a driver hands its functions to VFIO: `vfio-pci`, or a variant as `mlx5_vfio_pci`.
  static func isVFIODriver(_ name: String) -> Bool {
    name.hasPrefix("vfio-") || name.hasSuffix("_vfio_pci") || name.hasSuffix("-vfio-pci")
  }
}
