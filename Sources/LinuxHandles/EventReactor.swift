// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import Synchronization

/// One epoll instance and one thread that serve many eventfds: by handlers, or as asynchronous sequences.
///
/// Whoever makes a reactor decides who shares it; there is no global one. Subscriptions hold it, and its
/// thread ends with its last holder.
public final class EventReactor: Sendable {
  /// A watched descriptor and what is done with its counts.
  fileprivate final class Source: Sendable {
    let descriptor: OwnedDescriptor
    let isTaking: Bool
    let isToldTheEnd: Bool
    let isCancelled = Atomic<Bool>(false)
    let handler: @Sendable (UInt64) -> Void

    init(
      _ descriptor: consuming OwnedDescriptor, isTaking: Bool, isToldTheEnd: Bool,
      _ handler: @escaping @Sendable (UInt64) -> Void
    ) {
      self.descriptor = descriptor
      self.isTaking = isTaking
      self.isToldTheEnd = isToldTheEnd
      self.handler = handler
    }

    /// Its address: what epoll gives back, and never 0.
    var token: UInt64 { UInt64(UInt(bitPattern: unsafe Unmanaged.passUnretained(self).toOpaque())) }

    @inline(__always)
    func serve() {
      if isCancelled.load(ordering: .relaxed) { return }
      var count: UInt64 = 0
      if isTaking, unsafe abi_read(descriptor.rawValue, &count, 8) != 8 { return }
      if count >= EventFD.lastCall, !isToldTheEnd { return }
      handler(count)
    }
  }

  /// What the thread needs, apart from the reactor itself: the thread must not keep its owner alive.
  fileprivate final class State: Sendable {
    struct Sources {
      var watched: [ObjectIdentifier: Source] = [:]
      /// No longer watched, but the thread may have one of them in hand until its next turn.
      var retired: [Source] = []
    }
    let poll: EventPoll
    let news: EventFD
    let isStopping = Atomic<Bool>(false)
    let sources = Mutex(Sources())

    init() throws(KernelError) {
      poll = try EventPoll()
      news = try EventFD()
      try poll.add(news.descriptor, token: 0)
    }

    func cancel(_ source: Source) {
      guard !source.isCancelled.exchange(true, ordering: .relaxed) else { return }
      poll.forget(source.descriptor)
      sources.withLock { sources in
        if let source = sources.watched.removeValue(forKey: ObjectIdentifier(source)) {
          sources.retired.append(source)
        }
      }
      news.wake()
    }
  }

  private let state: State
  private let thread: OwnedThread

  /// Starts the thread.
  /// - Throws: `KernelError` for `epoll_create1`, `eventfd` or `pthread_create`.
  public init() throws(KernelError) {
    let state = try State()
    self.state = state
    thread = try OwnedThread { Self.run(state) }
  }

  deinit {
    state.isStopping.store(true, ordering: .relaxed)
    state.news.wake()
  }

  /// Calls a handler on the reactor's thread with each count of an eventfd or a ``TimerFD``.
  ///
  /// Counts are never lost: what comes between two calls is added up by the kernel.
  /// - Parameters:
  ///   - descriptor: Duplicated, so its owner may close it at any time.
  ///   - isTaking: Whether the count is taken. If not, the handler is called with 0 when there was a signal
  ///     and nobody had taken it yet.
  ///   - isToldTheEnd: Whether a count with ``EventFD/lastCall`` comes to the handler.
  ///   - handler: Must not block: it holds up all others. What it captures is let go on the reactor's thread.
  /// - Returns: Ends the calls when it is dropped.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func watch(
    _ descriptor: borrowing OwnedDescriptor, taking isTaking: Bool = true,
    tellingTheEnd isToldTheEnd: Bool = true,
    _ handler: @escaping @Sendable (_ count: UInt64) -> Void
  ) throws(KernelError) -> EventSubscription {
    let source = Source(
      try descriptor.duplicate(), isTaking: isTaking, isToldTheEnd: isToldTheEnd, handler)
    state.sources.withLock { $0.watched[ObjectIdentifier(source)] = source }
    do throws(KernelError) {
      try state.poll.add(source.descriptor, token: source.token, edges: !isTaking)
    } catch {
      _ = state.sources.withLock { $0.watched.removeValue(forKey: ObjectIdentifier(source)) }
      throw error
    }
    return EventSubscription(source, of: self)
  }

  /// The counts of an eventfd as they come.
  ///
  /// The descriptor is duplicated, so its owner may close it at any time.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func counts(of event: borrowing EventFD) throws(KernelError) -> EventCounts {
    let sum = EventSum()
    return EventCounts(sum, try watch(event.descriptor) { sum.add($0) })
  }

  fileprivate func cancel(_ source: Source) { state.cancel(source) }

  private static func run(_ state: State) {
    while !state.isStopping.load(ordering: .relaxed) {
      var hasNews = false
      // No call of an epoll that this thread keeps open fails.
      _ = try? state.poll.waitForTokens(-1) { token in
        guard let address = unsafe UnsafeRawPointer(bitPattern: UInt(token)) else {
          hasNews = true
          return
        }
        // SAFETY: a source is let go by this thread alone, between two waits, and after it left the epoll.
        unsafe Unmanaged<Source>.fromOpaque(address)._withUnsafeGuaranteedRef { $0.serve() }
      }
      if hasNews { readNews(state) }
    }
    // Subscriptions hold their reactor, so nothing is watched any more; the last of them was just retired.
    readNews(state)
  }

  private static func readNews(_ state: State) {
    _ = try? state.news.take()
    // They go after the lock: a handler may hold the last reference to anything.
    let retired = state.sources.withLock { sources in
      defer { sources.retired = [] }
      return sources.retired
    }
    _ = consume retired
  }
}

/// The calls that a reactor makes for one descriptor; they end when this is dropped or cancelled.
public final class EventSubscription: Sendable {
  private let source: EventReactor.Source
  private let reactor: EventReactor

  fileprivate init(_ source: EventReactor.Source, of reactor: EventReactor) {
    self.source = source
    self.reactor = reactor
  }

  /// Ends the calls; one that the reactor's thread has begun may still be under way.
  public func cancel() { reactor.cancel(source) }

  deinit { cancel() }
}
