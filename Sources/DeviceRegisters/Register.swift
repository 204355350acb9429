// SPDX-License-Identifier: Apache-2.0

/// What a driver may do with a register.
public enum RegisterAccess: Sendable {
  /// Reading has no effect on the device.
  case readOnly
  /// Only writing means anything.
  case writeOnly
  /// Both.
  case readWrite
  /// Reading changes the device; see ``RegisterWindow/readAndClear(_:)``.
  case clearOnRead
}

/// One register of a window: where, how wide, and what may be done with it.
@frozen
public struct Register<Word: RegisterWord>: Sendable {
  /// From the beginning of the window, in bytes.
  public let byteOffset: Int
  /// What may be done with it.
  public let access: RegisterAccess

  /// Declares a register.
  /// - Parameter byteOffset: In bytes from the window's beginning; a multiple of the register's width.
  @inlinable
  public init(byteOffset: Int, access: RegisterAccess) {
    precondition(
      byteOffset >= 0 && byteOffset & (MemoryLayout<Word>.size &- 1) == 0,
      "a register lies at a multiple of its width")
    self.byteOffset = byteOffset
    self.access = access
  }
}

/// An 8-bit register.
public typealias Register8 = Register<UInt8>
/// A 16-bit register.
public typealias Register16 = Register<UInt16>
/// A 32-bit register.
public typealias Register32 = Register<UInt32>
/// A 64-bit register.
public typealias Register64 = Register<UInt64>
