// SPDX-License-Identifier: Apache-2.0
internal import DeviceRegisters

/// The registers in BAR0 of QEMU's edu device, each declared once.
/// - Source: QEMU docs/specs/edu.rst, "MMIO area spec".
enum EduRegisters {
  /// Identification: 0xRRrr00ed, major and minor version.
  static let identification = Register32(byteOffset: 0x00, access: .readOnly)
  /// Liveness check: reads as the bitwise inversion of what was written.
  static let liveness = Register32(byteOffset: 0x04, access: .readWrite)
  /// Factorial: write a number, read its factorial when ``status`` says so.
  static let factorial = Register32(byteOffset: 0x08, access: .readWrite)
  /// Status: bit 0 computing a factorial (read-only), bit 7 interrupt when it is computed.
  static let status = Register32(byteOffset: 0x20, access: .readWrite)
  /// Interrupt status: the causes that were not acknowledged.
  static let interruptStatus = Register32(byteOffset: 0x24, access: .readOnly)
  /// Interrupt raise: these causes are added to the interrupt status, and an interrupt is sent.
  static let interruptRaise = Register32(byteOffset: 0x60, access: .writeOnly)
  /// Interrupt acknowledge: these causes are cleared; INTx is lowered when none is left.
  static let interruptAcknowledge = Register32(byteOffset: 0x64, access: .writeOnly)
  /// DMA source address.
  static let dmaSource = Register64(byteOffset: 0x80, access: .readWrite)
  /// DMA destination address.
  static let dmaDestination = Register64(byteOffset: 0x88, access: .readWrite)
  /// DMA transfer count, in bytes.
  static let dmaCount = Register64(byteOffset: 0x90, access: .readWrite)
  /// DMA command: the bits of ``DMACommand``.
  static let dmaCommand = Register64(byteOffset: 0x98, access: .readWrite)

  /// The bits of ``status``.
  enum Status {
    static let isComputing: UInt32 = 1 << 0
    static let interruptsWhenDone: UInt32 = 1 << 7
  }

  /// The bits of ``dmaCommand``.
  enum DMACommand {
    /// Write 1 to start; stays 1 while the transfer runs.
    static let run: UInt64 = 1 << 0
    /// 0 from memory to the device's buffer, 1 from the buffer to memory.
    static let toMemory: UInt64 = 1 << 1
    /// Interrupt with cause ``EduRegisters/Cause/dma`` when done.
    static let interruptsWhenDone: UInt64 = 1 << 2
  }

  /// The causes that the device itself gives in ``interruptStatus``.
  enum Cause {
    static let factorial: UInt32 = 0x001
    static let dma: UInt32 = 0x100
  }

  /// Where the device's own buffer begins, as ``dmaSource`` and ``dmaDestination`` name it.
  static let bufferAddress: UInt64 = 0x40000
  /// The buffer's length in bytes.
  static let bufferByteCount = 4096
}
