// SPDX-License-Identifier: Apache-2.0
package import LinuxHandles
internal import Synchronization

/// What the control thread and the thread of one queue tell each other: orders one way, how far the queue is the other way.
package final class QueueOrders: Sendable {
  /// On which the queue's thread sleeps.
  package let bell: QueueBell
  private let given = Atomic<UInt64>(0)
  private let obeyed = Atomic<UInt64>(0)
  private let progress = Atomic<UInt64>(0)

  package init() throws(KernelError) { bell = try QueueBell() }

  /// Gives an order.
  /// - Returns: Its number.
  @discardableResult
  package func give() -> UInt64 {
    let number = given.add(1, ordering: .acquiringAndReleasing).newValue
    bell.ring()
    return number
  }

  /// The number of the newest order.
  package var newest: UInt64 { given.load(ordering: .acquiring) }

  /// Notes that all orders up to one are obeyed.
  func obey(_ number: UInt64) { obeyed.store(number, ordering: .releasing) }

  /// Whether an order is obeyed.
  func isObeyed(_ number: UInt64) -> Bool { obeyed.load(ordering: .acquiring) >= number }

  // MARK: How far the queue is

  private static let availableWrapBit: UInt64 = 1 << 32
  private static let usedWrapBit: UInt64 = 1 << 33
  private static let packedBit: UInt64 = 1 << 34

  /// Notes how far the queue is.
  func note(_ state: VDUSEQueueState, isPacked: Bool) {
    let word =
      UInt64(state.availableIndex) | UInt64(state.usedIndex) << 16
      | (state.availableWrap ? Self.availableWrapBit : 0) | (state.usedWrap ? Self.usedWrapBit : 0)
      | (isPacked ? Self.packedBit : 0)
    progress.store(word, ordering: .releasing)
  }

  /// What was noted last, as an answer to the kernel.
  func report(ofQueue index: Int) -> VDUSEQueueReport {
    let word = progress.load(ordering: .acquiring)
    let state = VDUSEQueueState(
      availableIndex: UInt16(truncatingIfNeeded: word), availableWrap: word & Self.availableWrapBit != 0,
      usedIndex: UInt16(truncatingIfNeeded: word >> 16), usedWrap: word & Self.usedWrapBit != 0)
    return VDUSEQueueReport(queue: index, state: state, isPacked: word & Self.packedBit != 0)
  }
}
