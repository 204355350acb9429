// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore

/// edu's DMA engine, by its registers.
struct EduEngine: ~Copyable {
  private let window: RegisterWindow

  init(_ window: consuming RegisterWindow) { self.window = window }

  /// Where the device's own buffer begins.
  static var buffer: IOVA { IOVA(0x40000) }

  /// Copies out of the bus into the buffer.
  borrowing func load(from bus: IOVA, byteCount: Int) throws {
    try run(from: bus, to: Self.buffer, byteCount: byteCount, command: 1)
  }

  /// Copies out of the buffer onto the bus.
  borrowing func store(to bus: IOVA, byteCount: Int) throws {
    try run(from: Self.buffer, to: bus, byteCount: byteCount, command: 3)
  }

  private borrowing func run(from source: IOVA, to target: IOVA, byteCount: Int, command: UInt64) throws {
    window.store(source.rawValue, at: 0x80)
    window.store(target.rawValue, at: 0x88)
    window.store(UInt64(byteCount), at: 0x90)
    window.store(command, at: 0x98)
    try Deadline(.seconds(5)).poll("transfer") { window.load(UInt64.self, at: 0x98) & 1 == 0 }
  }
}
