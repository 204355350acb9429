// SPDX-License-Identifier: Apache-2.0
public import LinuxHandles
internal import Synchronization

/// The first error of accesses that could not report it, kept for whoever asks: a backing's half of
/// ``RegisterWindow/takeFault()``.
public struct FirstFault: ~Copyable, Sendable {
  private let fault = Mutex<KernelError?>(nil)

  /// Starts without one.
  public init() {}

  /// The error, and forgets it.
  public borrowing func take() -> KernelError? { fault.withLock { $0.take() } }

  /// Keeps an error if there is none yet.
  public borrowing func record(_ error: KernelError) { fault.withLock { if $0 == nil { $0 = error } } }
}
