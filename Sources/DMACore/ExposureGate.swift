// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Keeps the end of all exposures of an address space apart from the making and ending of single ones.
///
/// Single ones go through together, each over its kernel call; whoever wants to be alone waits for them, and
/// they for him. A thread enters once.
@safe
struct ExposureGate: ~Copyable, @unchecked Sendable {
  private let lock: UnsafeMutablePointer<pthread_rwlock_t>

  init() {
    unsafe lock = .allocate(capacity: 1)
    var attributes = pthread_rwlockattr_t()
    unsafe pthread_rwlockattr_init(&attributes)
    // Who ends all of them must not wait for ever behind threads that come and go.
    unsafe pthread_rwlockattr_setkind_np(&attributes, CInt(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP))
    unsafe lock.initialize(to: pthread_rwlock_t())
    let result = unsafe pthread_rwlock_init(lock, &attributes)
    precondition(result == 0, "a lock without a limit can be made")
    unsafe pthread_rwlockattr_destroy(&attributes)
  }

  // SAFETY: the lock is at one place, initialised above, until `deinit`.
  borrowing func enter() { unsafe check(pthread_rwlock_rdlock(lock)) }
  borrowing func enterAlone() { unsafe check(pthread_rwlock_wrlock(lock)) }
  borrowing func leave() { unsafe check(pthread_rwlock_unlock(lock)) }

  private borrowing func check(_ result: CInt) {
    precondition(result == 0, "a thread enters the gate once and leaves it once")
  }

  deinit {
    unsafe pthread_rwlock_destroy(lock)
    unsafe lock.deallocate()
  }
}
