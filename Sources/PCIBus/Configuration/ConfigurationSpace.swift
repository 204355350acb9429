// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// How many bytes one access of configuration space takes.
public enum ConfigurationWidth: Int, Sendable {
  /// 8 bits.
  case byte = 1
  /// 16 bits.
  case word = 2
  /// 32 bits.
  case doubleWord = 4
}

/// The configuration space of one function, however it is reached.
///
/// Offsets are in bytes; an access does not cross its natural alignment. Values are little-endian in the space
/// and ordinary numbers here.
public protocol ConfigurationSpace: Sendable {
  /// Bytes that can be read: 64, 256 or 4096.
  var byteCount: Int { get }
  /// Reads `width` bytes.
  /// - Throws: `KernelError`; `EINVAL` outside of `byteCount`.
  func read(at byteOffset: Int, width: ConfigurationWidth) throws(KernelError) -> UInt32
  /// Writes the low `width` bytes of a value.
  /// - Throws: `KernelError`; `EINVAL` outside of `byteCount`.
  func write(_ value: UInt32, at byteOffset: Int, width: ConfigurationWidth) throws(KernelError)
}

/// Offsets of the header that every function has, in bytes.
///
/// Source: PCI Local Bus 3.0, 6.1; PCI Express Base 6.0, 7.5.1.
public enum ConfigurationOffset {
  /// Vendor ID, 16 bits.
  public static let vendorID = 0x00
  /// Device ID, 16 bits.
  public static let deviceID = 0x02
  /// Command, 16 bits.
  public static let command = 0x04
  /// Status, 16 bits.
  public static let status = 0x06
  /// Revision ID, 8 bits; the class code is in the 24 bits above it.
  public static let revision = 0x08
  /// Header type, 8 bits.
  public static let headerType = 0x0e
  /// The first of six base address registers of a type 0 header, 32 bits each.
  public static let bar0 = 0x10
  /// The offset of the first capability, 8 bits; in a CardBus bridge it is at `cardBusCapabilities`.
  public static let capabilities = 0x34
  /// The offset of the first capability of a CardBus bridge, 8 bits.
  public static let cardBusCapabilities = 0x14
}

/// Bits of the command register.
///
/// Source: PCI Express Base 6.0, 7.5.1.1.3.
public struct PCICommand: OptionSet, Hashable, Sendable {
  /// The register.
  public let rawValue: UInt16
  /// Takes the register as it is.
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  /// The function answers I/O accesses.
  public static let ioSpace = PCICommand(rawValue: 1 << 0)
  /// The function answers memory accesses.
  public static let memorySpace = PCICommand(rawValue: 1 << 1)
  /// The function may do DMA and send MSI.
  public static let busMaster = PCICommand(rawValue: 1 << 2)
  /// The function does not assert INTx.
  public static let interruptDisable = PCICommand(rawValue: 1 << 10)
}

extension ConfigurationSpace {
  /// Reads 8 bits.
  public func read8(at byteOffset: Int) throws(KernelError) -> UInt8 {
    UInt8(truncatingIfNeeded: try read(at: byteOffset, width: .byte))
  }
  /// Reads 16 bits.
  public func read16(at byteOffset: Int) throws(KernelError) -> UInt16 {
    UInt16(truncatingIfNeeded: try read(at: byteOffset, width: .word))
  }
  /// Reads 32 bits.
  public func read32(at byteOffset: Int) throws(KernelError) -> UInt32 {
    try read(at: byteOffset, width: .doubleWord)
  }
  /// Writes 8 bits.
  public func write8(_ value: UInt8, at byteOffset: Int) throws(KernelError) {
    try write(UInt32(value), at: byteOffset, width: .byte)
  }
  /// Writes 16 bits.
  public func write16(_ value: UInt16, at byteOffset: Int) throws(KernelError) {
    try write(UInt32(value), at: byteOffset, width: .word)
  }
  /// Writes 32 bits.
  public func write32(_ value: UInt32, at byteOffset: Int) throws(KernelError) {
    try write(value, at: byteOffset, width: .doubleWord)
  }

  /// Who made the function; 0xffff where no device answers.
  public var vendorID: UInt16 { get throws(KernelError) { try read16(at: ConfigurationOffset.vendorID) } }
  /// What its maker calls it.
  public var deviceID: UInt16 { get throws(KernelError) { try read16(at: ConfigurationOffset.deviceID) } }
  /// The command register.
  public var command: PCICommand {
    get throws(KernelError) { PCICommand(rawValue: try read16(at: ConfigurationOffset.command)) }
  }
  /// The class code.
  public var classCode: PCIClassCode {
    get throws(KernelError) { PCIClassCode(rawValue: try read32(at: ConfigurationOffset.revision) >> 8) }
  }
  /// The layout of the header: 0 ordinary, 1 PCI bridge, 2 CardBus bridge; 0x7f where no device answers.
  public var headerType: UInt8 {
    get throws(KernelError) { try read8(at: ConfigurationOffset.headerType) & 0x7f }
  }
  /// Whether the device says it has more than one function.
  public var isMultiFunction: Bool {
    get throws(KernelError) { try read8(at: ConfigurationOffset.headerType) & 0x80 != 0 }
  }
  /// Whether the function may do DMA and send MSI.
  public var isBusMasterEnabled: Bool { get throws(KernelError) { try command.contains(.busMaster) } }

  /// Allows or forbids the function to do DMA; the other bits of the command register stay.
  public func setBusMaster(_ enabled: Bool) throws(KernelError) {
    var command = try command
    if enabled { command.insert(.busMaster) } else { command.remove(.busMaster) }
    try write16(command.rawValue, at: ConfigurationOffset.command)
  }
}
