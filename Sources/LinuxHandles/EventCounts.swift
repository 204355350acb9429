// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// The counts of an eventfd as they come, for `for await`.
///
/// What comes between two elements is added up, so that a slow consumer costs no memory, and the sum of the
/// elements is exact. It ends when its task is cancelled, when the counter says its ``EventFD/lastCall``, or
/// when this value and its iterators are gone. One task consumes it at a time.
public struct EventCounts: AsyncSequence, Sendable {
  /// How often it was signalled since the element before; at least 1.
  public typealias Element = UInt64
  /// It ends without an error.
  public typealias Failure = Never

  private let sum: EventSum
  private let subscription: EventSubscription

  init(_ sum: EventSum, _ subscription: EventSubscription) {
    self.sum = sum
    self.subscription = subscription
  }

  /// Starts to consume.
  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(sum: sum, subscription: subscription) }

  /// What a loop asks for the next count.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate let sum: EventSum
    fileprivate let subscription: EventSubscription

    /// Waits for the next count; nil at the end.
    public mutating func next(isolation: isolated (any Actor)?) async -> UInt64? {
      await sum.take(isolation: isolation)
    }

    /// As the other one, for a task without an actor.
    public mutating func next() async -> UInt64? { await sum.take(isolation: nil) }
  }
}

/// What was counted and not yet consumed, and who waits for it.
final class EventSum: Sendable {
  private struct State {
    var pending: UInt64 = 0
    var isOver = false
    var waiter: CheckedContinuation<UInt64?, Never>?

    /// The answer that can be given at once, if any.
    mutating func takeReady() -> UInt64?? {
      if pending > 0 {
        defer { pending = 0 }
        return .some(pending)
      }
      return isOver ? .some(nil) : nil
    }
  }

  private let state = Mutex(State())

  func add(_ count: UInt64) {
    let (waiter, answer) = state.withLock { state -> (CheckedContinuation<UInt64?, Never>?, UInt64?) in
      state.pending += count & ~EventFD.lastCall
      if count >= EventFD.lastCall { state.isOver = true }
      guard state.waiter != nil, let answer = state.takeReady() else { return (nil, nil) }
      return (state.waiter.take(), answer)
    }
    waiter?.resume(returning: answer)
  }

  func end() { add(EventFD.lastCall) }

  func take(isolation: isolated (any Actor)?) async -> UInt64? {
    if let ready = state.withLock({ $0.takeReady() }) { return ready }
    return await withTaskCancellationHandler {
      await withCheckedContinuation(isolation: isolation) { continuation in
        let answer = state.withLock { state -> UInt64?? in
          precondition(state.waiter == nil, "one task consumes the counts of an event at a time")
          if let ready = state.takeReady() { return ready }
          // A cancellation from now on finds the waiter; an earlier one is seen here.
          if Task.isCancelled { return .some(nil) }
          state.waiter = continuation
          return nil
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      state.withLock { $0.waiter.take() }?.resume(returning: nil)
    }
  }
}
