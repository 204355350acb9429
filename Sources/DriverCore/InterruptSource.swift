// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles

/// What a backend does for interrupts; drivers use ``InterruptVectors``, ``InterruptVector`` and
/// ``PCIFunctionEvents``.
///
/// One kind is armed at a time. All members may be called from any thread.
public protocol InterruptSource: AnyObject, Sendable {
  /// What happens to the function as a whole.
  var events: PCIFunctionEvents { get }
  /// What the function has of a kind; nil where it has none.
  func facts(of kind: InterruptKind) -> InterruptFacts?
  /// Makes vectors from `start` on signal `events`, the first of them the first.
  ///
  /// The backend keeps them armed across resets.
  /// - Parameters:
  ///   - events: Descriptors of eventfds, which stay open until `disarm`; nil for a vector that signals
  ///     nothing, or no longer.
  ///   - isAdding: Whether vectors of the kind are armed already, which stay; if not, none of any kind is.
  /// - Throws: `KernelError`: `EINVAL` for more vectors than there are; `EBUSY` where some are armed.
  func arm(
    _ kind: InterruptKind, from start: Int, signalling events: [CInt?], adding isAdding: Bool
  ) throws(KernelError)
  /// Takes all vectors of a kind away from the hardware.
  func disarm(_ kind: InterruptKind) throws(KernelError)
  /// Signals the eventfds of vectors by the path that a real interrupt takes in the kernel.
  func trigger(_ kind: InterruptKind, _ vectors: Range<Int>) throws(KernelError)
  /// Signals the eventfds of those vectors from `start` on for which `chosen` says so.
  func trigger(_ kind: InterruptKind, from start: Int, where chosen: [Bool]) throws(KernelError)
  /// Holds a vector back, or lets it through again. Message-signalled vectors cannot be held back: `ENOTTY`.
  func setMasked(_ isMasked: Bool, _ kind: InterruptKind, vector: Int) throws(KernelError)
  /// Lets a vector through again whenever an eventfd is signalled; nil ends that.
  func unmask(_ kind: InterruptKind, vector: Int, whenSignalled event: CInt?) throws(KernelError)
}
