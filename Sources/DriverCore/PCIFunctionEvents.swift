// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization

/// What happens to a function as a whole, beside its interrupts.
public enum PCIFunctionEvent: Hashable, Sendable {
  /// The bus reported an uncorrectable error of the function (AER): its state is unknown, reset it.
  case error
  /// The kernel wants the function back: it is being unplugged, or unbound. Stop the device and close it.
  /// Comes again every ten seconds until then.
  case removalRequested
  /// The function is gone: every further call answers `DriverError.removed`.
  case removed
}

/// The events of one function.
///
/// They are taken by one reader at a time: ``poll()``, ``wait(until:)`` or ``stream(on:)``.
public final class PCIFunctionEvents: Sendable {
  private let errors: EventFD
  private let removal: EventFD
  private let isGone = Atomic<Bool>(false)
  /// Whether ``PCIFunctionEvent/removed`` was told by ``poll()``.
  private let wasGoneTold = Atomic<Bool>(false)
  private let requestHandlers = Mutex<[@Sendable () -> Void]>([])

  /// Makes the counters; for backends.
  /// - Throws: `KernelError` for `eventfd`.
  public init() throws(KernelError) {
    errors = try EventFD()
    removal = try EventFD()
  }

  /// What a backend lets the kernel signal at an error.
  public var errorDescriptor: CInt { errors.descriptor.rawValue }

  /// What a backend lets the kernel signal when it wants the function back.
  public var removalDescriptor: CInt { removal.descriptor.rawValue }

  /// Whether the function is gone.
  public var isRemoved: Bool { isGone.load(ordering: .acquiring) }

  /// Says that the function is gone, and wakes who waits; for backends.
  public func markRemoved() {
    guard !isGone.exchange(true, ordering: .releasing) else { return }
    removal.sayLastCall()
  }

  /// - Throws: `DriverError.removed` once the function is gone.
  func requirePresent() throws(DriverError) {
    guard isRemoved else { return }
    throw DriverError(code: .removed, detail: "the function was taken away")
  }

  /// The next event, or nil where nothing has happened.
  ///
  /// Never blocks. Several errors, or several requests, that nobody looked at are one event.
  public func poll() throws(DriverError) -> PCIFunctionEvent? {
    if isRemoved {
      return wasGoneTold.exchange(true, ordering: .relaxed) ? nil : .removed
    }
    return try DriverError.wrapping { () throws(KernelError) in
      if try removal.take() > 0 {
        tellRequest()
        return isRemoved ? .removed : .removalRequested
      }
      return try errors.take() > 0 ? .error : nil
    }
  }

  /// Blocks until something happens.
  /// - Throws: `DriverError.timedOut` at the deadline; `.kernel` for `epoll_create1` or `epoll_ctl`.
  public func wait(until deadline: Deadline) throws(DriverError) -> PCIFunctionEvent {
    if let event = try poll() { return event }
    let waiter = try DriverError.wrapping { () throws(KernelError) in
      let waiter = try EventPoll()
      try waiter.add(errors, tag: Self.errorTag)
      try waiter.add(removal, tag: Self.removalTag)
      return waiter
    }
    while true {
      let wasOver = deadline.isOver
      var (sawError, sawRequest) = (false, false)
      _ = try DriverError.wrapping { () throws(KernelError) in
        try waiter.wait(for: deadline.remaining) { tag, _ in
          if tag == Self.errorTag { sawError = true } else { sawRequest = true }
        }
      }
      if sawRequest { tellRequest() }
      if isRemoved {
        wasGoneTold.store(true, ordering: .relaxed)
        return .removed
      }
      if sawRequest {
        if sawError { errors.wake() }  // for the next look
        return .removalRequested
      }
      if sawError { return .error }
      if wasOver { throw DriverError(code: .timedOut, detail: "nothing happened to the function") }
    }
  }

  private static let errorTag: UInt32 = 0
  private static let removalTag: UInt32 = 1

  /// The events as they come, for `for await`; the last one is ``PCIFunctionEvent/removed``.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func stream(on reactor: EventReactor) throws(KernelError) -> AsyncStream<PCIFunctionEvent> {
    // Three kinds of event can wait; more of the same say nothing new.
    let (stream, continuation) = AsyncStream<PCIFunctionEvent>.makeStream(
      bufferingPolicy: .bufferingNewest(3))
    let errorCalls = try reactor.watch(errors.descriptor) { _ in continuation.yield(.error) }
    let removalCalls = try reactor.watch(removal.descriptor) { [self] count in
      if count & ~EventFD.lastCall > 0 {
        tellRequest()
        continuation.yield(.removalRequested)
      }
      if count >= EventFD.lastCall {
        continuation.yield(.removed)
        continuation.finish()
      }
    }
    continuation.onTermination = { _ in
      errorCalls.cancel()
      removalCalls.cancel()
    }
    return stream
  }

  /// Calls a handler at each request to give the function back, beside whoever reads the events.
  ///
  /// A request may call it twice. Its thread is the reactor's or a reader's, and it must not block.
  /// - Parameter handler: Kept for as long as this object lives.
  /// - Returns: Lets the reactor look when nobody reads; to be held for as long.
  /// - Throws: `KernelError` for `dup` or `epoll_ctl`.
  public func whenRemovalIsRequested(
    on reactor: EventReactor, _ handler: @escaping @Sendable () -> Void
  ) throws(KernelError) -> EventSubscription {
    let looking = try reactor.watch(removal.descriptor, taking: false) { _ in handler() }
    // The reactor misses a request that a reader took before it had a look: then the reader tells.
    requestHandlers.withLock { $0.append(handler) }
    return looking
  }

  private func tellRequest() {
    for handler in requestHandlers.withLock({ $0 }) { handler() }
  }
}
