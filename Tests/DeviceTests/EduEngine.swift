// SPDX-License-Identifier: Apache-2.0
import DMACore
import DeviceRegisters
import DriverCore

/// edu's DMA engine, by its registers: for tests of what lies below its driver.
struct EduEngine: ~Copyable {
  /// Which way bytes go between the bus and the device's buffer: the value of the command register.
  enum Direction: UInt64 {
    case fromMemory = 1
    case toMemory = 3
  }

  /// Where the device's own buffer begins.
  private static let buffer = UInt64(0x40000)
  let window: RegisterWindow

  init(_ window: consuming RegisterWindow) { self.window = window }

  /// Lets the device copy between its buffer and the bus, and does not wait.
  borrowing func start(_ direction: Direction, _ iova: IOVA, byteCount: Int) {
    let bus = iova.rawValue
    window.store(direction == .fromMemory ? bus : Self.buffer, at: 0x80)
    window.store(direction == .fromMemory ? Self.buffer : bus, at: 0x88)
    window.store(UInt64(byteCount), at: 0x90)
    window.store(direction.rawValue, at: 0x98)
  }

  var isRunning: Bool { window.load(UInt64.self, at: 0x98) & 1 != 0 }

  borrowing func wait() throws {
    try Deadline(.seconds(10)).poll("transfer") { !isRunning }
  }

  /// Copies out of the bus into the buffer, and waits.
  borrowing func load(from iova: IOVA, byteCount: Int) throws {
    start(.fromMemory, iova, byteCount: byteCount)
    try wait()
  }

  /// Copies out of the buffer onto the bus, and waits.
  borrowing func store(to iova: IOVA, byteCount: Int) throws {
    start(.toMemory, iova, byteCount: byteCount)
    try wait()
  }
}
