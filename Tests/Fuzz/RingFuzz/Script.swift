// SPDX-License-Identifier: Apache-2.0

/// The fuzzer's bytes, one after the other; zeros after the last.
@safe struct Script {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var place = 0

  init(_ bytes: UnsafeBufferPointer<UInt8>) { unsafe self.bytes = bytes }

  var isAtEnd: Bool { unsafe place >= bytes.count }

  mutating func byte() -> UInt8 {
    guard unsafe place < bytes.count else { return 0 }
    defer { place += 1 }
    return unsafe bytes[place]
  }

  mutating func word() -> UInt16 { UInt16(byte()) | UInt16(byte()) << 8 }

  /// A number of 64 bits that is often small, an address of the table, or near the end.
  mutating func number() -> UInt64 {
    let kind = byte()
    switch kind & 3 {
    case 0: return UInt64(kind >> 2)
    case 1: return HostileRing.tableAddress + (kind & 4 == 0 ? UInt64(byte() % 40) << 3 : UInt64(byte()))
    case 2: return .max - UInt64(byte())
    default: return UInt64(word()) | UInt64(word()) << 16 | UInt64(word()) << 32 | UInt64(word()) << 48
    }
  }

  /// A length that is often a small number of whole descriptors.
  mutating func length() -> UInt64 {
    let kind = byte()
    return kind & 1 == 0 ? UInt64(kind >> 1 & 31) << 4 : UInt64(word() & 0xfff)
  }
}
