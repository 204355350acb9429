// SPDX-License-Identifier: Apache-2.0

/// What the journal says of one function: how it was before the first change, and in which boot.
public struct BindingRecord: Hashable, Sendable {
  /// Which function.
  public let address: PCIAddress
  /// The boot that it is true in (`/proc/sys/kernel/random/boot_id`); a new boot forgets every binding.
  public let bootID: String
  /// The driver that held it; nil for none.
  public let previousDriver: String?
  /// The override it had; nil for none.
  public let previousOverride: String?
  /// The driver it was first to be bound to; nil for none.
  public let target: String?
  /// Whether drivers took virtual functions of it by themselves, before some were made; nil where none were
  /// made, and so there are none to take away.
  public let previousAutoprobe: Bool?

  /// Creates a record from its parts.
  public init(
    address: PCIAddress, bootID: String, previousDriver: String?, previousOverride: String?, target: String?,
    previousAutoprobe: Bool? = nil
  ) {
    self.address = address
    self.bootID = bootID
    self.previousDriver = previousDriver
    self.previousOverride = previousOverride
    self.target = target
    self.previousAutoprobe = previousAutoprobe
  }

  func with(autoprobe: Bool?) -> BindingRecord {
    BindingRecord(
      address: address, bootID: bootID, previousDriver: previousDriver, previousOverride: previousOverride,
      target: target, previousAutoprobe: autoprobe)
  }
}

extension BindingRecord: LosslessStringConvertible {
  private static let title = "swift-vfio binding 1"

  /// Reads the text of a journal file; nil where it is not whole.
  public init?(_ description: String) {
    var lines = description.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.first == Self.title, lines.suffix(2) == ["end", ""] else { return nil }
    lines = Array(lines.dropFirst().dropLast(2))
    var fields: [String: String] = [:]
    for line in lines {
      guard let space = line.firstIndex(of: " ") else { return nil }
      let value = String(line[line.index(after: space)...])
      guard !value.isEmpty, fields.updateValue(value, forKey: String(line[..<space])) == nil else {
        return nil
      }
    }
    guard let address = fields["function"].flatMap({ PCIAddress($0) }), let bootID = fields["boot"] else {
      return nil
    }
    self.init(
      address: address, bootID: bootID, previousDriver: fields["driver"],
      previousOverride: fields["override"],
      target: fields["target"], previousAutoprobe: fields["autoprobe"].map { $0 == "on" })
  }

  /// The text of a journal file: a title, one `KEY VALUE` for each thing that there is, and `end`.
  public var description: String {
    var lines = [Self.title, "function \(address)", "boot \(bootID)"]
    if let previousDriver { lines.append("driver \(previousDriver)") }
    if let previousOverride { lines.append("override \(previousOverride)") }
    if let target { lines.append("target \(target)") }
    if let previousAutoprobe { lines.append("autoprobe \(previousAutoprobe ? "on" : "off")") }
    return (lines + ["end", ""]).joined(separator: "\n")
  }
}
