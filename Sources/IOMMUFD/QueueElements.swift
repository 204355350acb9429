// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// What comes out of a queue of the kernel, for `for try await`.
///
/// It ends when the queue is closed, when its task is cancelled, or when this value and its iterators are gone. One task
/// consumes it at a time; what two sequences of one queue see is divided between them.
public struct QueueElements<Element: Sendable>: AsyncSequence, Sendable {
  /// Reading may fail.
  public typealias Failure = KernelError

  private let changes: EventCounts
  private let read: @Sendable () throws(KernelError) -> [Element]?

  /// - Parameter read: What there is, without waiting; nil once the queue is closed.
  init(
    _ changes: EventCounts, _ read: @escaping @Sendable () throws(KernelError) -> [Element]?
  ) {
    self.changes = changes
    self.read = read
  }

  /// Starts to consume.
  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(changes: changes.makeAsyncIterator(), read: read)
  }

  /// What a loop asks for the next element.
  public struct AsyncIterator: AsyncIteratorProtocol {
    fileprivate var changes: EventCounts.AsyncIterator
    fileprivate let read: @Sendable () throws(KernelError) -> [Element]?
    /// Read and not yet handed out, the last one first.
    private var pending: [Element] = []

    fileprivate init(
      changes: EventCounts.AsyncIterator, read: @escaping @Sendable () throws(KernelError) -> [Element]?
    ) {
      self.changes = changes
      self.read = read
    }

    /// Waits for the next element; nil at the end.
    /// - Throws: `KernelError` for `read`.
    public mutating func next(
      isolation: isolated (any Actor)?
    ) async throws(KernelError) -> Element? {
      while pending.isEmpty {
        guard let elements = try read() else { return nil }
        pending = elements.reversed()
        if pending.isEmpty, await changes.next(isolation: isolation) == nil { return nil }
      }
      return pending.removeLast()
    }

    /// As the other one, for a task without an actor.
    public mutating func next() async throws(KernelError) -> Element? { try await next(isolation: nil) }
  }
}
