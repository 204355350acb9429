// SPDX-License-Identifier: Apache-2.0

/// An interrupt that the driver waits for; several chains share one.
struct InterruptDebt {
  private(set) var isOwed: Bool
  private var since = ContinuousClock.now

  init(isOwed: Bool) { self.isOwed = isOwed }

  mutating func add() {
    if isOwed { return }
    isOwed = true
    since = .now
  }

  /// While there is more to do, a driver waits no longer than this for what is done: about the cost of ten interrupts.
  var isOverdue: Bool { isOwed && ContinuousClock.now - since > .microseconds(100) }

  /// It stays owed where `send` says that the kernel refuses: before it has noted that the driver is ready.
  mutating func pay(_ send: () -> Bool) {
    if isOwed { isOwed = !send() }
  }
}
