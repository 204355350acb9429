// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import LinuxHandles

/// The counter on which a queue's thread sleeps: the driver's kicks, the orders of the control thread, and a service that
/// has something for the queue ring it.
///
/// Not an `EventFD`, since reading this one blocks: sleeping and taking the count are one call.
public final class QueueBell: Sendable {
  let descriptor: OwnedDescriptor

  init() throws(KernelError) {
    descriptor = OwnedDescriptor(adopting: try kernelCall("eventfd") { abi_eventfd(0, 0) })
  }

  /// Wakes the queue's thread; from any thread, and at no other cost where it is awake.
  public func ring() { EventFD.wake(descriptor.rawValue) }

  /// Sleeps until it is rung; not at all where it was since the last time.
  func wait() {
    let fd = descriptor.rawValue
    var count: UInt64 = 0
    // Reading an open counter fails only for a signal, after which the caller looks around as after a kick.
    _ = unsafe abi_read(fd, &count, 8)
  }

  /// As the other one, for a while.
  /// - Returns: Whether it was rung.
  @discardableResult
  package func wait(for limit: Duration) -> Bool {
    let (seconds, attoseconds) = limit.components
    let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    guard abi_poll_readable(descriptor.rawValue, nanoseconds) > 0 else { return false }
    wait()
    return true
  }
}
