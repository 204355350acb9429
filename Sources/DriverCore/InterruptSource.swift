// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// What a backend does for interrupts; drivers use ``InterruptVector``.
///
/// One kind is armed at a time. All members may be called from any thread.
public protocol InterruptSource: AnyObject, Sendable {
  /// Makes vector `i` of a kind signal `events[i]`.
  /// - Parameter events: Descriptors of eventfds; they stay open until `disarm`.
  func arm(_ kind: InterruptKind, signalling events: [CInt]) throws(KernelError)
  /// Takes all vectors of a kind away from the hardware.
  func disarm(_ kind: InterruptKind) throws(KernelError)
  /// Takes one vector's eventfd away; the others stay.
  func detach(_ kind: InterruptKind, vector: Int) throws(KernelError)
  /// Signals a vector's eventfd by the path that a real interrupt takes in the kernel.
  func trigger(_ kind: InterruptKind, vector: Int) throws(KernelError)
  /// Holds a vector back. Message-signalled vectors cannot be held back: `ENOTTY` or `EINVAL`.
  func mask(_ kind: InterruptKind, vector: Int) throws(KernelError)
  /// Lets a vector through again.
  func unmask(_ kind: InterruptKind, vector: Int) throws(KernelError)
}
