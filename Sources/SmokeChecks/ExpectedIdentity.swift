// SPDX-License-Identifier: Apache-2.0
internal import PCIBus

/// What a function's configuration space must say, as somebody else knows it: sysfs, or a device model.
///
/// What is nil is not compared.
public struct ExpectedIdentity: Hashable, Sendable {
  /// Who made it.
  public var vendorID: UInt16
  /// What it is.
  public var deviceID: UInt16
  /// Base class, subclass and programming interface: 24 bits.
  public var classCode: UInt32?
  /// Its revision.
  public var revision: UInt8?
  /// Who made the board.
  public var subsystemVendorID: UInt16?
  /// What the board is.
  public var subsystemID: UInt16?

  /// Puts the expectation together.
  public init(
    vendorID: UInt16, deviceID: UInt16, classCode: UInt32? = nil, revision: UInt8? = nil,
    subsystemVendorID: UInt16? = nil, subsystemID: UInt16? = nil
  ) {
    self.vendorID = vendorID
    self.deviceID = deviceID
    self.classCode = classCode
    self.revision = revision
    self.subsystemVendorID = subsystemVendorID
    self.subsystemID = subsystemID
  }

  /// Compares with a configuration space (type 0 header).
  /// - Returns: What both say.
  func compare(with space: any ConfigurationSpace) throws -> String {
    let vendor = try space.read(at: 0x00, width: .word)
    let device = try space.read(at: 0x02, width: .word)
    let classAndRevision = try space.read(at: 0x08, width: .doubleWord)
    var rows: [(name: String, expected: UInt32?, seen: UInt32)] = [
      ("vendor", UInt32(vendorID), vendor), ("device", UInt32(deviceID), device),
      ("class", classCode, classAndRevision >> 8),
      ("revision", revision.map(UInt32.init), classAndRevision & 0xff),
    ]
    if subsystemVendorID != nil || subsystemID != nil {
      rows.append(
        ("subsystem vendor", subsystemVendorID.map(UInt32.init), try space.read(at: 0x2c, width: .word)))
      rows.append(("subsystem", subsystemID.map(UInt32.init), try space.read(at: 0x2e, width: .word)))
    }
    let differences = rows.compactMap { row -> String? in
      guard let expected = row.expected, expected != row.seen else { return nil }
      return "\(row.name) is 0x\(String(row.seen, radix: 16)), expected 0x\(String(expected, radix: 16))"
    }
    try require(differences.isEmpty, differences.joined(separator: "; "))
    return rows.map { "\($0.name) 0x\(String($0.seen, radix: 16))" }.joined(separator: ", ")
  }
}
