// SPDX-License-Identifier: Apache-2.0

/// What the other side of a queue did wrong, and where.
///
/// The queue is broken from then on: it answers every later question with the same error and writes nothing more.
/// The way out is a reset of the device.
@frozen
public struct QueueError: Error, Hashable, Sendable {
  /// What is wrong.
  public let code: Code
  /// Which one it is: a descriptor, an entry of a ring or a buffer, as the code says.
  public let index: UInt16
  /// The number that is wrong: an address, a length or an index, as the code says.
  public let value: UInt64

  /// Makes an error.
  @inlinable
  public init(_ code: Code, index: UInt16 = 0, value: UInt64 = 0) {
    self.code = code
    self.index = index
    self.value = value
  }
}

extension QueueError {
  /// What is wrong.
  ///
  /// New kinds may be added.
  @frozen
  public struct Code: RawRepresentable, Hashable, Sendable {
    /// Its number, for a log; never 0.
    public let rawValue: UInt8

    /// A code from its number.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    // Rings

    /// Size, alignment or length of a ring's area is impossible; `value` is the size, the address or the length.
    @inlinable public static var badLayout: Code { Code(rawValue: 1) }
    /// A saved state contradicts itself or the ring; `value` is the index that does not fit.
    @inlinable public static var badState: Code { Code(rawValue: 2) }
    /// The driver's index says that more chains are available than the queue has entries; `value` is the index.
    @inlinable public static var availableIndexTooFar: Code { Code(rawValue: 3) }
    /// An entry of the available ring names no descriptor; `index` is the entry's, `value` the descriptor's.
    @inlinable public static var headOutOfRange: Code { Code(rawValue: 4) }
    /// A chain was made available that the device still has; `index` is the entry's, `value` the chain's.
    @inlinable public static var alreadyInFlight: Code { Code(rawValue: 5) }
    /// The identity of a packed ring's buffer is not below the queue's size; `index` is the slot's, `value` the identity.
    @inlinable public static var identityOutOfRange: Code { Code(rawValue: 6) }

    // Descriptors; `index` is the descriptor's, within the ring or within an indirect table.

    /// A chain goes on with a descriptor that there is not; `value` is its index.
    @inlinable public static var descriptorOutOfRange: Code { Code(rawValue: 7) }
    /// A chain has more descriptors than its table, so that it comes back to one of them; `value` is how many there are.
    @inlinable public static var descriptorLoop: Code { Code(rawValue: 8) }
    /// A chain has more pieces than the device takes; `value` is the limit.
    @inlinable public static var tooManySegments: Code { Code(rawValue: 9) }
    /// A piece has no bytes; `value` is its address.
    @inlinable public static var zeroLength: Code { Code(rawValue: 10) }
    /// A piece passes the end of 64-bit addresses; `value` is its address.
    @inlinable public static var addressOverflow: Code { Code(rawValue: 11) }
    /// The pieces of a chain have 2^32 bytes or more; `value` is their sum.
    @inlinable public static var tooManyBytes: Code { Code(rawValue: 12) }
    /// A piece that the device reads follows one that it writes; `value` is its address.
    @inlinable public static var readableAfterWritable: Code { Code(rawValue: 13) }

    /// A piece is not mapped, and the device has to write it; `index` is the chain's, `value` the piece's address.
    @inlinable public static var pieceUnmapped: Code { Code(rawValue: 23) }

    // Indirect tables; `index` is the descriptor's that refers to the table, or lies in it.

    /// There is a table, but the two sides agreed on none; `value` is its address.
    @inlinable public static var unexpectedIndirect: Code { Code(rawValue: 14) }
    /// A table refers to a table; `value` is the address of the inner one.
    @inlinable public static var nestedIndirect: Code { Code(rawValue: 15) }
    /// A table is only a part of a chain, where it must be the last or the only one; `value` is its address.
    @inlinable public static var indirectNotAlone: Code { Code(rawValue: 16) }
    /// A table is empty, too long, or no whole number of descriptors; `value` is its length in bytes.
    @inlinable public static var indirectLength: Code { Code(rawValue: 17) }
    /// The translation knows no such memory in one piece, or it is no multiple of 8; `value` is the table's address.
    @inlinable public static var indirectUnmapped: Code { Code(rawValue: 18) }

    // What a device did to a driver

    /// The device's index says that more chains were used than it has; `value` is the index.
    @inlinable public static var usedIndexTooFar: Code { Code(rawValue: 19) }
    /// The device used a chain that it does not have; `index` is the entry's, `value` the chain's.
    @inlinable public static var usedUnknown: Code { Code(rawValue: 20) }
    /// The device wrote more than the chain has room for; `index` is the chain's, `value` how many bytes.
    @inlinable public static var writtenTooMuch: Code { Code(rawValue: 21) }
    /// The device used a chain out of order, having agreed not to; `index` is the entry's, `value` the chain's.
    @inlinable public static var outOfOrder: Code { Code(rawValue: 22) }
  }
}

extension QueueError.Code: CustomStringConvertible {
  private static var names: [QueueError.Code: String] {
    [
      .badLayout: "an impossible layout", .badState: "an impossible state",
      .availableIndexTooFar: "the available index is too far ahead",
      .headOutOfRange: "an available entry names no descriptor",
      .alreadyInFlight: "a chain is made available that is in flight",
      .identityOutOfRange: "a buffer's identity is out of range",
      .descriptorOutOfRange: "a chain goes on outside its table", .descriptorLoop: "a chain loops",
      .tooManySegments: "a chain has too many pieces", .zeroLength: "a piece has no bytes",
      .addressOverflow: "a piece passes the end of addresses", .tooManyBytes: "a chain has too many bytes",
      .readableAfterWritable: "a readable piece follows a writable one",
      .pieceUnmapped: "a piece that must be written is outside the mapped memory",
      .unexpectedIndirect: "an indirect table without the feature",
      .nestedIndirect: "an indirect table within one",
      .indirectNotAlone: "an indirect table that a chain goes on after",
      .indirectLength: "an indirect table of an impossible length",
      .indirectUnmapped: "an indirect table outside the mapped memory",
      .usedIndexTooFar: "the used index is too far ahead",
      .usedUnknown: "a chain is used that is not in flight",
      .writtenTooMuch: "more bytes written than there is room", .outOfOrder: "a chain is used out of order",
    ]
  }

  /// What is wrong, in words.
  public var description: String { Self.names[self] ?? "queue error \(rawValue)" }
}

extension QueueError: CustomStringConvertible {
  /// One line: what, which one, and the number.
  public var description: String { "\(code): index \(index), value 0x\(String(value, radix: 16))" }
}
