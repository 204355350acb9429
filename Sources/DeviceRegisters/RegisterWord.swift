// SPDX-License-Identifier: Apache-2.0
public import CMMIO

/// An integer that one bus access carries: 8, 16, 32 or 64 bits, in the host's byte order.
///
/// PCI registers are little-endian, as are both architectures that this package supports.
public protocol RegisterWord: FixedWidthInteger & UnsignedInteger & BitwiseCopyable & Sendable {
  /// Exactly one volatile load of this width.
  @unsafe static func volatileLoad(_ address: UnsafeRawPointer) -> Self
  /// Exactly one volatile store of this width.
  @unsafe static func volatileStore(_ value: Self, _ address: UnsafeMutableRawPointer)
}

extension UInt8: RegisterWord {
  /// One 8-bit load.
  @inlinable @unsafe public static func volatileLoad(_ address: UnsafeRawPointer) -> UInt8 {
    unsafe cmmio_read8(address)
  }
  /// One 8-bit store.
  @inlinable @unsafe public static func volatileStore(_ value: UInt8, _ address: UnsafeMutableRawPointer) {
    unsafe cmmio_write8(address, value)
  }
}

extension UInt16: RegisterWord {
  /// One 16-bit load.
  @inlinable @unsafe public static func volatileLoad(_ address: UnsafeRawPointer) -> UInt16 {
    unsafe cmmio_read16(address)
  }
  /// One 16-bit store.
  @inlinable @unsafe public static func volatileStore(_ value: UInt16, _ address: UnsafeMutableRawPointer) {
    unsafe cmmio_write16(address, value)
  }
}

extension UInt32: RegisterWord {
  /// One 32-bit load.
  @inlinable @unsafe public static func volatileLoad(_ address: UnsafeRawPointer) -> UInt32 {
    unsafe cmmio_read32(address)
  }
  /// One 32-bit store.
  @inlinable @unsafe public static func volatileStore(_ value: UInt32, _ address: UnsafeMutableRawPointer) {
    unsafe cmmio_write32(address, value)
  }
}

extension UInt64: RegisterWord {
  /// One 64-bit load.
  @inlinable @unsafe public static func volatileLoad(_ address: UnsafeRawPointer) -> UInt64 {
    unsafe cmmio_read64(address)
  }
  /// One 64-bit store.
  @inlinable @unsafe public static func volatileStore(_ value: UInt64, _ address: UnsafeMutableRawPointer) {
    unsafe cmmio_write64(address, value)
  }
}
