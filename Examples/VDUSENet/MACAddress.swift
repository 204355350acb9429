// SPDX-License-Identifier: Apache-2.0

/// The address of a network interface: six bytes, written as `02:00:00:00:00:01`.
public struct MACAddress: Hashable, Sendable, LosslessStringConvertible {
  static let byteCount = 6

  /// The bytes, as they are sent.
  public let bytes: [UInt8]

  /// An address that is always the same for a name, of those that anybody may use.
  public init(for name: String) {
    // FNV-1a, which spreads names that differ in one character.
    let hash = name.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    bytes = [0x02] + (0..<5).map { UInt8(truncatingIfNeeded: hash >> (8 * UInt64($0))) }
  }

  /// Reads an address; nil for other text, and for one that is a group's or nobody's.
  public init?(_ description: String) {
    let parts = description.split(separator: ":", omittingEmptySubsequences: false)
    let bytes = parts.compactMap { $0.count == 2 ? UInt8($0, radix: 16) : nil }
    guard parts.count == Self.byteCount, bytes.count == Self.byteCount, bytes[0] & 1 == 0,
      bytes.contains(where: { $0 != 0 })
    else {
      return nil
    }
    self.bytes = bytes
  }

  /// As it is written.
  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
