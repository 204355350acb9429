// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// A message of generic netlink: bytes that are put together and taken apart here, with no socket.
/// - Source: include/uapi/linux/netlink.h, include/uapi/linux/genetlink.h.
package struct NetlinkMessage: Hashable, Sendable {
  /// Which family, or what kind of message.
  package let type: UInt16
  /// What the sender wants of the receiver, or says of the message.
  package let flags: UInt16
  /// Which question it is, or answers.
  package let sequence: UInt32
  /// All after the header.
  package let payload: [UInt8]

  /// A question that wants to be acknowledged.
  package init(
    family: UInt16, command: Int32, version: UInt8, sequence: UInt32, _ attributes: [(Int32, String)]
  ) {
    type = family
    flags = UInt16(ABI_NLM_F_REQUEST | ABI_NLM_F_ACK)
    self.sequence = sequence
    var bytes: [UInt8] = [UInt8(truncatingIfNeeded: command), version, 0, 0]
    for (kind, text) in attributes {
      let content = Array(text.utf8) + [0]
      bytes += Self.bytes(of: UInt16(4 + content.count)) + Self.bytes(of: UInt16(truncatingIfNeeded: kind))
      bytes += content + [UInt8](repeating: 0, count: -content.count & 3)
    }
    payload = bytes
  }

  /// The messages in what was received; what is cut off at the end is left out.
  package static func messages(in bytes: ArraySlice<UInt8>) -> [NetlinkMessage] {
    var messages: [NetlinkMessage] = []
    var rest = bytes
    while rest.count >= 16 {
      let length = Int(number(in: rest, at: 0, count: 4))
      guard length >= 16, length <= rest.count else { break }
      messages.append(NetlinkMessage(whole: rest.prefix(length)))
      rest = rest.dropFirst((length + 3) & ~3)
    }
    return messages
  }

  private init(whole bytes: ArraySlice<UInt8>) {
    type = UInt16(Self.number(in: bytes, at: 4, count: 2))
    flags = UInt16(Self.number(in: bytes, at: 6, count: 2))
    sequence = Self.number(in: bytes, at: 8, count: 4)
    payload = Array(bytes.dropFirst(16))
  }

  /// As it is sent.
  package var bytes: [UInt8] {
    Self.bytes(of: UInt32(16 + payload.count)) + Self.bytes(of: type) + Self.bytes(of: flags)
      + Self.bytes(of: sequence) + [0, 0, 0, 0] + payload
  }

  /// The outcome of a question: 0 or a negative errno; nil for another kind of message.
  package var outcome: Int32? {
    guard CInt(type) == ABI_NLMSG_ERROR, payload.count >= 4 else { return nil }
    return Int32(bitPattern: Self.number(in: payload[...], at: 0, count: 4))
  }

  /// What the kernel says of a refusal in words.
  package var refusal: String? {
    guard outcome != nil, CInt(flags) & ABI_NLM_F_ACK_TLVS != 0, payload.count >= 20 else { return nil }
    // The header of the question follows the errno, and the rest of it unless it is left out.
    let question =
      CInt(flags) & ABI_NLM_F_CAPPED != 0 ? 16 : Int(Self.number(in: payload[...], at: 4, count: 4))
    let text = Self.attribute(ABI_NLMSGERR_ATTR_MSG, in: payload.dropFirst(4 + (question + 3) & ~3))
    return text.map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// The 16-bit number of an attribute; nil where the message does not have it.
  package func number(ofAttribute kind: Int32) -> UInt16? {
    guard let bytes = Self.attribute(kind, in: payload.dropFirst(4)), bytes.count >= 2 else { return nil }
    return UInt16(Self.number(in: bytes, at: 0, count: 2))
  }

  private static func attribute(_ kind: Int32, in bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    var rest = bytes
    while rest.count >= 4 {
      let length = Int(number(in: rest, at: 0, count: 2))
      guard length >= 4, length <= rest.count else { return nil }
      if number(in: rest, at: 2, count: 2) == UInt32(bitPattern: kind) {
        return rest.prefix(length).dropFirst(4)
      }
      rest = rest.dropFirst((length + 3) & ~3)
    }
    return nil
  }

  // Netlink is in the order of the machine, which is little-endian wherever this runs.

  private static func bytes<Number: FixedWidthInteger>(of number: Number) -> [UInt8] {
    (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  private static func number(in bytes: ArraySlice<UInt8>, at offset: Int, count: Int) -> UInt32 {
    (0..<count).reduce(0) { $0 | UInt32(bytes[bytes.startIndex + offset + $1]) << (8 * UInt32($1)) }
  }
}
