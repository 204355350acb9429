// SPDX-License-Identifier: Apache-2.0
import Testing
import VDUSE

/// Netlink as it goes over the socket, byte for byte.
@Suite struct NetlinkMessageTests {
  @Test func aQuestionHasTheKernelsLayout() {
    let message = NetlinkMessage(
      family: 0x1c, command: 3, version: 1, sequence: 7, [(2, "vduse"), (4, "d0")])
    #expect(
      message.bytes == [
        40, 0, 0, 0, 0x1c, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0,
        3, 1, 0, 0,
        10, 0, 2, 0, 0x76, 0x64, 0x75, 0x73, 0x65, 0, 0, 0,
        7, 0, 4, 0, 0x64, 0x30, 0, 0,
      ])
  }

  /// The answer to CTRL_CMD_GETFAMILY, cut short behind the id, and its acknowledgement.
  static let family: [UInt8] = [
    40, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 9, 9, 0, 0, 1, 2, 0, 0,
    9, 0, 2, 0, 0x76, 0x64, 0x70, 0x61, 0, 0, 0, 0, 6, 0, 1, 0, 0x1c, 0, 0, 0,
    36, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0,
    32, 0, 0, 0, 0x10, 0, 5, 0, 1, 0, 0, 0, 9, 9, 0, 0,
  ]

  @Test func theFamilyIsFound() {
    let messages = NetlinkMessage.messages(in: Self.family[...])
    #expect(messages.count == 2 && messages.allSatisfy { $0.sequence == 1 })
    #expect(messages.first?.number(ofAttribute: 1) == 0x1c && messages.first?.outcome == nil)
    #expect(messages.last?.outcome == 0 && messages.last?.refusal == nil)
  }

  @Test func aRefusalIsReadWithItsWords() throws {
    let words: [UInt8] = [8, 0, 1, 0, 0x6e, 0x6f, 0x21, 0]
    let header: [UInt8] = [0, 0, 0, 0, 0x1c, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    let short: [UInt8] =
      [44, 0, 0, 0, 2, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xff, 0xff, 0xff] + header + words
    let message = try #require(NetlinkMessage.messages(in: short[...]).first)
    #expect(message.outcome == -19 && message.refusal == "no!")
    // The whole question comes back where the kernel does not cut it.
    let question: [UInt8] = [20, 0, 0, 0] + header.dropFirst(4) + [3, 1, 0, 0]
    let long: [UInt8] =
      [48, 0, 0, 0, 2, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xff, 0xff, 0xff] + question + words
    #expect(NetlinkMessage.messages(in: long[...]).first?.refusal == "no!")
  }

  /// Nothing that a socket gives ends the process.
  @Test func whatIsCutOffIsLeftOut() {
    for count in 0..<Self.family.count {
      for message in NetlinkMessage.messages(in: Self.family[..<count]) {
        _ = (message.outcome, message.refusal, message.number(ofAttribute: 1))
      }
    }
    #expect(NetlinkMessage.messages(in: Self.family[..<60]).count == 1)
    for length in [0, 1, 15, 255] as [UInt8] {
      #expect(NetlinkMessage.messages(in: ([length] + Self.family.dropFirst())[...]).count <= 1)
    }
    var attribute = Self.family
    for length in [0, 3, 255] as [UInt8] {
      attribute[20] = length
      #expect(NetlinkMessage.messages(in: attribute[...]).first?.number(ofAttribute: 1) == nil)
    }
  }
}
