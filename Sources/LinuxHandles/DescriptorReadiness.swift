// SPDX-License-Identifier: Apache-2.0

/// Waiting for a descriptor that its owner may close at any time.
///
/// Nobody who waits holds the descriptor's file, so that ``end(_:)`` and closing the descriptor release it at once,
/// whoever waits: an epoll instance with the descriptor and a counter that says the end stands between them.
public struct DescriptorReadiness: ~Copyable, Sendable {
  private let poll: EventPoll
  private let over: EventFD

  /// Begins to watch.
  /// - Parameter watched: Stays open until ``end(_:)``.
  /// - Throws: `KernelError` for `epoll_create1`, `eventfd` or `epoll_ctl`.
  public init(of watched: borrowing OwnedDescriptor) throws(KernelError) {
    let poll = try EventPoll()
    let over = try EventFD()
    try poll.add(watched, token: 0)
    try poll.add(over.descriptor, token: 1)
    self.poll = poll
    self.over = over
  }

  /// Waits until the descriptor can be read, or until the end.
  /// - Returns: Whether one of them came before the time was over.
  /// - Throws: `KernelError` for `ppoll`.
  public borrowing func wait(for limit: Duration) throws(KernelError) -> Bool {
    try poll.descriptor.waitUntilReadable(for: limit, on: "a queue")
  }

  /// An element for each change after which the descriptor can be read, or the end has come; the first at once where it
  /// can be read already.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public borrowing func changes(on reactor: EventReactor) throws(KernelError) -> EventCounts {
    try reactor.changes(of: poll.descriptor)
  }

  /// Ends all waiting, now and from now on; comes before the descriptor is closed.
  public borrowing func end(_ watched: borrowing OwnedDescriptor) {
    over.wake()
    // When this returns no wait has the file in hand any more: both take the instance's lock.
    poll.forget(watched)
  }
}

extension EventReactor {
  /// One count for each change after which a descriptor can be read.
  func changes(of descriptor: borrowing OwnedDescriptor) throws(KernelError) -> EventCounts {
    let sum = EventSum()
    return EventCounts(sum, try watch(descriptor, taking: false) { _ in sum.add(1) })
  }
}
