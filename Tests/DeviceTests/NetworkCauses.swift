// SPDX-License-Identifier: Apache-2.0
import DeviceRegisters
import DriverCore

/// A cause of interrupts of Intel's network cards, raised by their registers: what the device itself sends.
struct NetworkCauses: ~Copyable {
  /// Where a card has what it takes to raise one cause.
  struct Layout {
    /// Written with ones, or read, it forgets all causes.
    let cause: Int
    let raise: Int
    let mask: Int
    let bit: UInt32
    /// What sends the cause to vector 0 of MSI-X.
    let routing: (place: Int, value: UInt32)?

    /// Of e1000e (82574): the cause of receive queue 0 for MSI-X, any cause for the others.
    ///
    /// Source: 82574 datasheet, 10.2.4.
    static func e1000e(_ kind: InterruptKind) -> Layout {
      Layout(
        cause: 0xc0, raise: 0xc8, mask: 0xd0, bit: kind == .msix ? 1 << 20 : 1,
        routing: kind == .msix ? (0xe4, 1 << 3) : nil)
    }

    /// Of igb (82576), for MSI-X: each vector has a cause of its own.
    ///
    /// Source: 82576 datasheet, 8.8.
    static let igb = Layout(cause: 0x1580, raise: 0x1520, mask: 0x1524, bit: 1, routing: (0x1514, 1 << 4))
  }

  private let window: RegisterWindow
  private let layout: Layout

  init(_ window: consuming RegisterWindow, _ layout: Layout) {
    self.window = window
    self.layout = layout
    // A cause that stands since before would never come anew.
    acknowledge()
  }

  /// Lets the card interrupt once; it must have forgotten the cause before.
  borrowing func raise() {
    if let (place, value) = layout.routing { window.store(value, at: place) }
    window.store(layout.bit, at: layout.mask)
    window.store(layout.bit, at: layout.raise)
  }

  /// Lets the card forget all causes; the line is low then.
  borrowing func acknowledge() {
    window.store(UInt32.max, at: layout.cause)
    _ = window.load(UInt32.self, at: layout.cause)
  }
}
