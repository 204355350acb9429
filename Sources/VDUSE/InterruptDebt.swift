// SPDX-License-Identifier: Apache-2.0

/// An interrupt that the driver waits for; several chains share one.
struct InterruptDebt {
  private(set) var isOwed: Bool
  private var since = ContinuousClock.now
  /// How many chains share it.
  private var count = 0

  init(isOwed: Bool) { self.isOwed = isOwed }

  mutating func add() {
    isOwed = true
    count += 1
    if count == 1 { since = .now }
  }

  /// While there is more to do, a driver waits no longer than this for what is done: about the cost of ten interrupts.
  ///
  /// The clock is looked at after 2, 4, 8 chains and so on, so that it may be twice as long.
  var isOverdue: Bool {
    isOwed && count > 1 && count & (count - 1) == 0 && ContinuousClock.now - since > .microseconds(100)
  }

  /// It stays owed where `send` says that the kernel refuses: before it has noted that the driver is ready.
  mutating func pay(_ send: () -> Bool) {
    guard isOwed else { return }
    isOwed = !send()
    if !isOwed { count = 0 }
  }
}
