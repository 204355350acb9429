// SPDX-License-Identifier: Apache-2.0
public import DMACore

/// A command as it lies in a submission queue: 64 bytes.
/// - Source: NVM Express Base Specification 2.0, 3.3.3.1, figure 87.
@frozen
public struct NVMeCommand: BitwiseCopyable, Hashable, Sendable {
  /// Opcode in 7:0, data pointer's kind in 15:14, command id in 31:16, namespace in 63:32.
  @usableFromInline var header: UInt64
  @usableFromInline var words2and3: UInt64 = 0
  @usableFromInline var metadata: UInt64 = 0
  /// PRP1, or the first half of an SGL descriptor.
  @usableFromInline var data1: UInt64 = 0
  /// PRP2, or the second half of an SGL descriptor.
  @usableFromInline var data2: UInt64 = 0
  /// CDW10 in the low half, CDW11 in the high one; the next two alike.
  @usableFromInline var words10and11: UInt64 = 0
  @usableFromInline var words12and13: UInt64 = 0
  @usableFromInline var words14and15: UInt64 = 0

  /// A command without data or parameters.
  /// - Parameter namespaceID: 0 where none is concerned; all ones for all of them.
  @inlinable
  public init(_ opcode: NVMeOpcode, namespaceID: UInt32 = 0) {
    header = UInt64(opcode.rawValue) | UInt64(namespaceID) &<< 32
  }

  /// The six words of parameters, by number from 10 to 15.
  @inlinable
  public init(
    _ opcode: NVMeOpcode, namespaceID: UInt32 = 0, word10: UInt32, word11: UInt32 = 0, word12: UInt32 = 0,
    word13: UInt32 = 0, word14: UInt32 = 0
  ) {
    self.init(opcode, namespaceID: namespaceID)
    words10and11 = UInt64(word10) | UInt64(word11) &<< 32
    words12and13 = UInt64(word12) | UInt64(word13) &<< 32
    words14and15 = UInt64(word14)
  }

  /// Its opcode's number.
  @inlinable public var opcodeNumber: UInt8 { UInt8(truncatingIfNeeded: header) }

  /// One with a range of blocks.
  /// - Parameters:
  ///   - block: The first.
  ///   - count: 1 to 65536.
  @inlinable
  public init(_ opcode: NVMeOpcode, namespaceID: UInt32, block: UInt64, count: UInt32) {
    self.init(opcode, namespaceID: namespaceID)
    words10and11 = block
    words12and13 = UInt64((count &- 1) & 0xffff)
  }

  /// Lets it move data that lie in one page, or in two where `second` says where the other begins.
  @inlinable
  mutating func setPages(_ first: UInt64, _ second: UInt64) {
    data1 = first
    data2 = second
  }

  /// Lets it move data that lie in one piece, by an SGL descriptor instead of PRP entries.
  @inlinable
  mutating func setDescriptor(_ iova: IOVA, byteCount: UInt32, type: UInt8 = 0) {
    header |= 1 &<< 14
    data1 = iova.rawValue
    // The type is the upper half of the last byte.
    data2 = UInt64(byteCount) | UInt64(type) &<< 60
  }
}

/// How a command ended, and which it was.
@frozen
public struct NVMeCompletion: Hashable, Sendable {
  /// What ``NVMeQueuePair/submit(_:tag:)`` was given.
  public let tag: UInt64
  /// How it ended.
  public let status: NVMeStatus
  /// The first word of the completion: a result of some commands.
  public let result: UInt32

  @inlinable
  init(tag: UInt64, status: NVMeStatus, result: UInt32) {
    self.tag = tag
    self.status = status
    self.result = result
  }
}
