// SPDX-License-Identifier: Apache-2.0

/// The secret that the owner of a physical function shares with those who open its virtual functions: a UUID.
///
/// With it they show that they know who owns the physical function, which can read and break what they do.
/// - Source: `vfio_pci_core_match_token_uuid()`, drivers/vfio/pci/vfio_pci_core.c, Linux 5.7.
public struct VFToken: Hashable, Sendable {
  /// 16 bytes in the order in which they are written.
  public let bytes: [UInt8]

  /// Draws a new one at random (version 4).
  public init() {
    var generator = SystemRandomNumberGenerator()
    var bytes = (0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) }
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    self.bytes = bytes
  }

  /// Takes 16 bytes as they are; nil for another number of them.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 16 else { return nil }
    self.bytes = bytes
  }
}

extension VFToken: LosslessStringConvertible {
  private static let groups = [8, 4, 4, 4, 12]

  /// Reads `bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3`, in either case; nil for anything else.
  public init?(_ description: String) {
    let fields = description.split(separator: "-", omittingEmptySubsequences: false)
    guard fields.map(\.utf8.count) == Self.groups else { return nil }
    let digits = Array(fields.joined())
    guard digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) else { return nil }
    bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
  }

  /// `bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3`.
  public var description: String {
    var digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()[...]
    return Self.groups.map { count in
      defer { digits = digits.dropFirst(count) }
      return String(digits.prefix(count))
    }.joined(separator: "-")
  }
}
