// SPDX-License-Identifier: Apache-2.0

/// What goes through a ``LocalSocket`` at once: bytes, and open descriptors.
///
/// Sending lends the descriptors: the other process gets its own ones of the same open files.
public struct SocketMessage: ~Copyable, Sendable {
  /// At least one byte.
  public let bytes: [UInt8]
  /// At most 16 (``most``).
  public var descriptors: DescriptorList

  /// How many descriptors one message carries at most.
  public static var most: Int { 16 }

  /// Puts a message together.
  public init(_ bytes: [UInt8], descriptors: consuming DescriptorList = DescriptorList()) {
    self.bytes = bytes
    self.descriptors = descriptors
  }
}

extension SocketMessage {
  /// A message of 64-bit words in little-endian order, for protocols of fixed length.
  public init(words: [UInt64], descriptors: consuming DescriptorList = DescriptorList()) {
    self.init(
      words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } },
      descriptors: descriptors)
  }

  /// The bytes as such words, or nil where the message has not exactly so many.
  public borrowing func words(_ count: Int) -> [UInt64]? {
    guard bytes.count == 8 * count else { return nil }
    let bytes = bytes
    return (0..<count).map { word in
      (0..<8).reduce(0) { $0 | UInt64(bytes[8 * word + $1]) << (8 * $1) }
    }
  }
}
