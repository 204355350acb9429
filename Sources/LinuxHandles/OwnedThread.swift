// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// One thread with one owner, who tells it to end before letting go of it: the end is waited for.
public struct OwnedThread: ~Copyable, Sendable {
  private let rawValue: pthread_t

  /// Starts a thread.
  /// - Parameter body: Must not hold the thread's owner, which would then never go.
  /// - Throws: `KernelError` for `pthread_create`: `EAGAIN` at a limit of the system.
  public init(running body: @escaping @Sendable () -> Void) throws(KernelError) {
    #if DEBUG
      let body = Self.planned(body)
    #endif
    var thread = pthread_t()
    let context = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
    do throws(KernelError) {
      try kernelCall("pthread_create") {
        unsafe -(pthread_create(
          &thread, nil,
          { context in
            guard let context = unsafe context else { return nil }
            unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
            return nil
          }, context))
      }
    } catch {
      unsafe Unmanaged<Body>.fromOpaque(context).release()
      throw error
    }
    rawValue = thread
  }

  deinit {
    // The last reference to an owner may go on the thread itself, which cannot wait for its own end.
    if pthread_equal(rawValue, pthread_self()) != 0 {
      pthread_detach(rawValue)
    } else {
      pthread_join(rawValue, nil)
    }
  }

  #if DEBUG
    /// The same under the ``FaultPlan`` for new threads, where there is one.
    private static func planned(_ body: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
      guard let plan = FaultPlan.ofNewThreads else { return body }
      return { FaultPlan.$current.withValue(plan, operation: body) }
    }
  #endif

  /// A closure as one word, for C.
  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
}
