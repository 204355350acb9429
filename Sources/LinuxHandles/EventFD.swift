// SPDX-License-Identifier: Apache-2.0
internal import CLinuxABI
internal import SystemPackage

/// A counter in the kernel that one side adds to and the other takes from (`eventfd`), never blocking.
public struct EventFD: ~Copyable, Sendable {
  /// The descriptor, for calls that hand it to the kernel.
  public let descriptor: OwnedDescriptor

  /// Makes a counter at zero.
  /// - Throws: `KernelError` for `eventfd`: `EMFILE` at the process's limit of descriptors.
  public init() throws(KernelError) {
    descriptor = OwnedDescriptor(adopting: try kernelCall("eventfd") { abi_eventfd(0, CInt(EFD_NONBLOCK)) })
  }

  /// Takes over a counter that was made elsewhere; its file must not block (`EFD_NONBLOCK`).
  public init(adopting descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

  /// Adds one.
  public borrowing func signal() throws(KernelError) {
    let fd = descriptor.rawValue
    var one: UInt64 = 1
    try kernelCall("write", on: "eventfd \(fd)") { unsafe abi_write(fd, &one, 8) }
  }

  /// Adds one where nobody can be told of a failure: in a `deinit`, or in place of a device.
  ///
  /// The only failure is a counter at its end, and then whoever waits is awake already. A ``FaultPlan`` does
  /// not see it.
  public borrowing func wake() { Self.wake(descriptor.rawValue) }

  /// As the other one, for a counter of which only the descriptor is known.
  public static func wake(_ descriptor: CInt) {
    var one: UInt64 = 1
    _ = unsafe abi_write(descriptor, &one, 8)
  }

  /// Says that no signal will come any more: whoever takes the count sees it to be at least ``lastCall``.
  ///
  /// As ``wake()``, it cannot fail in a way that matters. The signals that came before are in the lower bits.
  public borrowing func sayLastCall() { Self.sayLastCall(to: descriptor.rawValue) }

  /// As the other one, for a counter of which only the descriptor is known.
  public static func sayLastCall(to descriptor: CInt) {
    var mark = lastCall
    _ = unsafe abi_write(descriptor, &mark, 8)
  }

  /// The bit of a count that says that nothing follows; so many signals never come.
  @inlinable public static var lastCall: UInt64 { 1 << 62 }

  /// Takes the whole count, and leaves zero; zero where nothing was signalled.
  public borrowing func take() throws(KernelError) -> UInt64 {
    let fd = descriptor.rawValue
    var count: UInt64 = 0
    let result = try kernelCall("read", on: "eventfd \(fd)") {
      let result = unsafe abi_read(fd, &count, 8)
      return result == -Int64(Errno.wouldBlock.rawValue) ? 0 : result
    }
    return result == 0 ? 0 : count
  }

  /// Waits until the count is not zero.
  /// - Returns: Whether it was, before the time was over.
  public borrowing func wait(for limit: Duration) throws(KernelError) -> Bool {
    let fd = descriptor.rawValue
    return try descriptor.waitUntilReadable(for: limit, on: "eventfd \(fd)")
  }

  /// Closes the descriptor.
  public consuming func close() throws(KernelError) { try descriptor.close() }
}
