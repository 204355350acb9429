// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import Synchronization

/// One epoll instance and one thread that turn eventfds into asynchronous sequences.
///
/// Whoever makes a reactor decides who shares it; there is no global one. Subscriptions hold it, and its
/// thread ends with its last holder.
public final class EventReactor: Sendable {
  private typealias Continuation = AsyncStream<UInt64>.Continuation
  private struct Subscription {
    let descriptor: CInt
    let continuation: Continuation
  }
  /// What the thread needs, apart from the reactor itself: the thread must not keep its owner alive.
  private final class State: Sendable {
    let epoll: OwnedDescriptor
    let stop: EventFD
    let subscriptions = Mutex<[UInt64: Subscription]>([:])

    init() throws(KernelError) {
      epoll = OwnedDescriptor(adopting: try kernelCall("epoll_create1") { abi_epoll_create() })
      stop = try EventFD()
      let (epollFD, stopFD) = (epoll.rawValue, stop.descriptor.rawValue)
      try kernelCall("epoll_ctl") { abi_epoll_add(epollFD, stopFD, EPOLLIN.rawValue, 0) }
    }
  }

  private let state: State
  private let nextToken = Atomic<UInt64>(1)
  private let thread: OwnedThread

  /// Starts the thread.
  /// - Throws: `KernelError` for `epoll_create1`, `eventfd` or `pthread_create`.
  public init() throws(KernelError) {
    let state = try State()
    self.state = state
    thread = try OwnedThread { Self.run(state) }
  }

  deinit { state.stop.wake() }

  /// The counts of an eventfd as they come, until the sequence's consumer ends or `close` is called on it.
  ///
  /// The descriptor is duplicated, so its owner may close it at any time. Counts are never lost: what comes
  /// between two elements is added up by the kernel.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func counts(of event: borrowing EventFD) throws(KernelError) -> AsyncStream<UInt64> {
    let copy = try event.descriptor.duplicate()
    let token = nextToken.add(1, ordering: .relaxed).newValue
    let (stream, continuation) = AsyncStream<UInt64>.makeStream()
    let fd = copy.rawValue
    let epoll = state.epoll.rawValue
    state.subscriptions.withLock { $0[token] = Subscription(descriptor: fd, continuation: continuation) }
    do throws(KernelError) {
      try kernelCall("epoll_ctl", on: "descriptor \(fd)") {
        abi_epoll_add(epoll, fd, EPOLLIN.rawValue, token)
      }
    } catch {
      _ = state.subscriptions.withLock { $0.removeValue(forKey: token) }
      throw error
    }
    _ = copy.relinquish()
    continuation.onTermination = { [self] _ in end(token) }
    return stream
  }

  private func end(_ token: UInt64) {
    let ended = state.subscriptions.withLock { $0.removeValue(forKey: token) }
    guard let ended else { return }
    _ = abi_epoll_delete(state.epoll.rawValue, ended.descriptor)
    _ = abi_close(ended.descriptor)
  }

  private static func run(_ state: State) {
    while true {
      var token: UInt64 = 0
      let result = unsafe abi_epoll_wait_one(state.epoll.rawValue, -1, &token)
      if result < 0 { continue }  // EINTR; nothing else can happen to an epoll that this thread keeps open
      if token == 0 { break }
      // Under the lock, so that the descriptor cannot be closed and its number used again meanwhile.
      state.subscriptions.withLock { subscriptions in
        guard let subscription = subscriptions[token] else { return }
        var count: UInt64 = 0
        if unsafe abi_read(subscription.descriptor, &count, 8) == 8 { subscription.continuation.yield(count) }
      }
    }
    let rest = state.subscriptions.withLock { subscriptions in
      defer { subscriptions = [:] }
      return subscriptions
    }
    for subscription in rest.values {
      subscription.continuation.finish()
      _ = abi_close(subscription.descriptor)
    }
  }
}
