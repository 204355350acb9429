// SPDX-License-Identifier: Apache-2.0

/// A change of driver that is not made because of what it would break.
public struct BindingRefusal: Error, Hashable, Sendable {
  /// What stands against the change.
  ///
  /// The set may grow.
  public struct Reason: RawRepresentable, Hashable, Sendable {
    /// A word for logs and scripts.
    public let rawValue: String
    /// Takes a word.
    public init(rawValue: String) { self.rawValue = rawValue }
    /// It is a bridge: vfio-pci answers EINVAL.
    public static let bridge = Reason(rawValue: "bridge")
    /// A file system on it is mounted.
    public static let mounted = Reason(rawValue: "mounted")
    /// It is swapped on.
    public static let swap = Reason(rawValue: "swap")
    /// Another block device (device mapper, RAID) or another owner in the kernel uses its blocks.
    public static let held = Reason(rawValue: "held")
    /// A network interface of it has an address or a route.
    public static let network = Reason(rawValue: "network")
    /// It shows the console.
    public static let bootDisplay = Reason(rawValue: "boot-display")
    /// Another function of its IOMMU group is held by a driver of the host, so VFIO could not open it.
    public static let group = Reason(rawValue: "group")
  }

  /// Which function.
  public let address: PCIAddress
  /// What stands against it.
  public let reason: Reason
  /// The reason with its names: which disk, mounted where; which interface with which address.
  public let detail: String
  /// What would help.
  public let remedy: String

  /// Creates a refusal from its parts.
  public init(address: PCIAddress, reason: Reason, detail: String, remedy: String) {
    self.address = address
    self.reason = reason
    self.detail = detail
    self.remedy = remedy
  }

  /// Whether `force: true` passes over it.
  ///
  /// What would lose data or cannot work stays refused.
  public var isForceable: Bool { [.network, .bootDisplay, .group].contains(reason) }
}

extension BindingRefusal: CustomStringConvertible {
  /// One line: which function, why, what would help.
  public var description: String {
    "\(address) keeps its driver: \(detail). \(remedy)" + (isForceable ? " Or force it." : "")
  }
}
