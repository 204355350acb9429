// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI

/// A timer that can be waited for like a counter (`timerfd`), on the clock that never jumps.
public struct TimerFD: ~Copyable, Sendable {
  /// The descriptor, for those who wait.
  public let descriptor: OwnedDescriptor

  /// Makes a timer that stands still.
  /// - Throws: `KernelError` for `timerfd_create`: `EMFILE` at the process's limit of descriptors.
  public init() throws(KernelError) {
    descriptor = OwnedDescriptor(adopting: try kernelCall("timerfd_create") { abi_timerfd() })
  }

  /// Fires once, this long from now; what was set before is forgotten.
  public borrowing func start(after delay: Duration) throws(KernelError) {
    let fd = descriptor.rawValue
    let nanoseconds = delay.kernelNanoseconds
    try kernelCall("timerfd_settime", on: "descriptor \(fd)") { abi_timerfd_start(fd, nanoseconds) }
  }
}
