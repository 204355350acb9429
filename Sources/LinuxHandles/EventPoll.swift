// SPDX-License-Identifier: Apache-2.0
public import CLinuxABI
internal import SystemPackage

/// One epoll instance: a thread waits in it for many counters at once.
///
/// Adding and removing may happen on other threads while one waits.
public struct EventPoll: ~Copyable, Sendable {
  @usableFromInline let descriptor: OwnedDescriptor

  /// Makes an instance that watches nothing yet.
  /// - Throws: `KernelError` for `epoll_create1`: `EMFILE` at the process's limit of descriptors.
  public init() throws(KernelError) {
    descriptor = OwnedDescriptor(adopting: try kernelCall("epoll_create1") { abi_epoll_create() })
  }

  /// Watches a counter.
  /// - Parameters:
  ///   - event: Stays open until it is removed.
  ///   - tag: What ``wait(for:_:)`` calls it.
  /// - Throws: `KernelError` for `epoll_ctl`: `EEXIST` where it is watched already.
  public borrowing func add(_ event: borrowing EventFD, tag: UInt32) throws(KernelError) {
    // The descriptor's number travels with the tag, so that nothing is looked up when it is ready.
    let fd = event.descriptor.rawValue
    try add(event.descriptor, token: UInt64(tag) &<< 32 | UInt64(UInt32(bitPattern: fd)))
  }

  /// Watches a counter no longer.
  /// - Throws: `KernelError` for `epoll_ctl`: `ENOENT` where it is not watched.
  public borrowing func remove(_ event: borrowing EventFD) throws(KernelError) {
    let (epoll, fd) = (descriptor.rawValue, event.descriptor.rawValue)
    try kernelRelease("epoll_ctl", on: "descriptor \(fd)") { abi_epoll_delete(epoll, fd) }
  }

  /// Waits until counters are not zero, and takes what they have.
  /// - Parameters:
  ///   - limit: In whole milliseconds, rounded up.
  ///   - body: Called with tag and count of each counter that was ready.
  /// - Returns: How many were ready; 0 when the time is over, or sooner where a signal came.
  public borrowing func wait(
    for limit: Duration, _ body: (_ tag: UInt32, _ count: UInt64) -> Void
  ) throws(KernelError) -> Int {
    try wait(milliseconds: Self.milliseconds(limit), body)
  }

  /// As the other one, without an end; for the loop of a driver.
  /// - Returns: How many were ready; 0 where a signal came.
  @inlinable
  public borrowing func wait(
    _ body: (_ tag: UInt32, _ count: UInt64) -> Void
  ) throws(KernelError) -> Int {
    try wait(milliseconds: -1, body)
  }

  @inlinable @inline(__always)
  borrowing func wait(
    milliseconds: Int64, _ body: (_ tag: UInt32, _ count: UInt64) -> Void
  ) throws(KernelError) -> Int {
    try waitForTokens(milliseconds) { token in
      var count: UInt64 = 0
      if unsafe abi_read(CInt(truncatingIfNeeded: token), &count, 8) == 8 {
        body(UInt32(truncatingIfNeeded: token &>> 32), count)
      }
    }
  }

  private static func milliseconds(_ limit: Duration) -> Int64 {
    let (seconds, attoseconds) = max(limit, .zero).components
    return min(seconds, 1 << 30) * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
  }
}

extension EventPoll {
  /// Watches any descriptor.
  /// - Parameters:
  ///   - watched: Stays open until it is removed, or the instance goes.
  ///   - token: What ``waitForTokens(_:_:)`` calls it.
  ///   - edges: Whether it is ready once for each change, and not for as long as it can be read.
  /// - Throws: `KernelError` for `epoll_ctl`: `EEXIST` where it is watched already.
  public borrowing func add(
    _ watched: borrowing OwnedDescriptor, token: UInt64, edges: Bool = false
  ) throws(KernelError) {
    let (epoll, fd) = (descriptor.rawValue, watched.rawValue)
    let events = EPOLLIN.rawValue | (edges ? EPOLLET.rawValue : 0)
    try kernelCall("epoll_ctl", on: "descriptor \(fd)") { abi_epoll_add(epoll, fd, events, token) }
  }

  /// Forgets a descriptor where nobody can be told of a failure.
  borrowing func forget(_ watched: borrowing OwnedDescriptor) {
    _ = abi_epoll_delete(descriptor.rawValue, watched.rawValue)
  }

  /// Waits, and calls `body` with the token of each that is ready.
  ///
  /// This is the way of every interrupt, so it does not go through ``kernelCall(_:on:_:)`` in release builds.
  /// - Parameters:
  ///   - milliseconds: Negative without an end.
  ///   - body: Takes what is there; nothing is taken here.
  /// - Returns: How many were ready; 0 when the time is over, or where a signal came.
  @inlinable @inline(__always)
  public borrowing func waitForTokens(
    _ milliseconds: Int64, _ body: (UInt64) -> Void
  ) throws(KernelError) -> Int {
    #if DEBUG
      try Self.passDoor()
    #endif
    let epoll = descriptor.rawValue
    // As long as abi_epoll_wait wants it.
    let ready = unsafe withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) {
      buffer in
      let ready = unsafe abi_epoll_wait(epoll, milliseconds, buffer.baseAddress)
      var index: CInt = 0
      while index < ready {
        body(unsafe abi_epoll_token(buffer.baseAddress, index))
        index &+= 1
      }
      return ready
    }
    return ready >= 0 ? Int(ready) : try Self.readyAfter(ready)
  }

  #if DEBUG
    /// Lets a ``FaultPlan`` see the call.
    @usableFromInline
    static func passDoor() throws(KernelError) { try kernelCall("epoll_wait") { CInt(0) } }
  #endif

  /// A signal ends a wait early, since how long is left, only the caller knows; all else is an error.
  @usableFromInline
  static func readyAfter(_ failure: CInt) throws(KernelError) -> Int {
    if failure == -Errno.interrupted.rawValue { return 0 }
    return Int(try kernelCall("epoll_wait") { failure })
  }
}
