// SPDX-License-Identifier: Apache-2.0

/// What a client asks a broker: one access, in three 64-bit words.
struct BrokerRequest: Equatable {
  /// What is asked for.
  enum Operation: UInt8 {
    case load = 1
    case store = 2
  }

  static let wordCount = 3

  /// Comes back in the answer.
  let sequence: UInt32
  let operation: Operation
  /// 1, 2, 4 or 8 bytes.
  let byteWidth: Int
  /// In bytes of what the client was given.
  let byteOffset: Int
  /// To store; 0 for a load.
  let value: UInt64

  init(sequence: UInt32, operation: Operation, byteWidth: Int, byteOffset: Int, value: UInt64) {
    self.sequence = sequence
    self.operation = operation
    self.byteWidth = byteWidth
    self.byteOffset = byteOffset
    self.value = value
  }

  /// Nil for what no client of ours would say.
  init?(words: [UInt64]) {
    guard words.count == Self.wordCount, words[0] >> 48 == 0,
      let operation = Operation(rawValue: UInt8(truncatingIfNeeded: words[0] >> 32)),
      let byteOffset = Int(exactly: words[1])
    else { return nil }
    let width = UInt8(truncatingIfNeeded: words[0] >> 40)
    guard [1, 2, 4, 8].contains(width) else { return nil }
    self.init(
      sequence: UInt32(truncatingIfNeeded: words[0]), operation: operation, byteWidth: Int(width),
      byteOffset: byteOffset, value: words[2])
  }

  var words: [UInt64] {
    [
      UInt64(sequence) | UInt64(operation.rawValue) << 32 | UInt64(byteWidth) << 40,
      UInt64(byteOffset), value,
    ]
  }
}

/// What a broker answers, in three 64-bit words.
struct BrokerReply: Equatable {
  static let wordCount = 3

  /// Of the request; 0 where that could not be read.
  let sequence: UInt32
  /// 0, or why the access could not be made.
  let errno: CInt
  /// Whether the registers were taken away from the owner.
  let isRevoked: Bool
  /// What was loaded; 0 for a store.
  let value: UInt64

  init(sequence: UInt32, errno: CInt = 0, isRevoked: Bool = false, value: UInt64 = 0) {
    self.sequence = sequence
    self.errno = errno
    self.isRevoked = isRevoked
    self.value = value
  }

  /// Nil for what no broker of ours would say.
  init?(words: [UInt64]) {
    guard words.count == Self.wordCount, words[1] <= 1, words[0] >> 32 < 4096 else { return nil }
    self.init(
      sequence: UInt32(truncatingIfNeeded: words[0]), errno: CInt(words[0] >> 32), isRevoked: words[1] == 1,
      value: words[2])
  }

  var words: [UInt64] { [UInt64(sequence) | UInt64(errno) << 32, isRevoked ? 1 : 0, value] }
}
