// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// Keeps the end of all exposures of an address space apart from the making and ending of single ones.
///
/// Single ones go through together, each over its kernel call; whoever wants to be alone waits for them, and
/// they for him. A thread enters once. While nobody wants to be alone, entering and leaving are one addition
/// each.
@safe
struct ExposureGate: ~Copyable, @unchecked Sendable {
  /// Two for each thread that is inside or about to find that it must wait; one while somebody wants to be alone.
  private let word = Atomic<Int>(0)
  private let sleepers: UnsafeMutablePointer<Sleepers>

  @safe
  private struct Sleepers {
    var lock = unsafe pthread_mutex_t()
    var isChanged = pthread_cond_t()
  }

  init() {
    unsafe sleepers = .allocate(capacity: 1)
    unsafe sleepers.initialize(to: Sleepers())
    unsafe check(pthread_mutex_init(&sleepers.pointee.lock, nil))
    unsafe check(pthread_cond_init(&sleepers.pointee.isChanged, nil))
  }

  @inline(__always)
  borrowing func enter() {
    if _slowPath(word.wrappingAdd(2, ordering: .acquiring).oldValue & 1 != 0) { enterLate() }
  }

  @inline(__always)
  borrowing func leave() {
    if _slowPath(word.wrappingSubtract(2, ordering: .releasing).newValue == 1) { wakeAll() }
  }

  @inline(never)
  private borrowing func enterLate() {
    repeat {
      leave()
      sleep { word.load(ordering: .acquiring) & 1 != 0 }
    } while word.wrappingAdd(2, ordering: .acquiring).oldValue & 1 != 0
  }

  borrowing func enterAlone() {
    // Nobody enters from here on, so that threads that come and go do not keep us waiting.
    while word.bitwiseOr(1, ordering: .acquiring).oldValue & 1 != 0 {
      sleep { word.load(ordering: .acquiring) & 1 != 0 }
    }
    sleep { word.load(ordering: .acquiring) != 1 }
  }

  borrowing func leaveAlone() {
    word.subtract(1, ordering: .releasing)
    wakeAll()
  }

  // SAFETY: the lock is at one place, initialised above, until `deinit`.

  /// Whoever makes `condition` false wakes all after it, under the lock, so that no wake is missed.
  private borrowing func sleep(while condition: () -> Bool) {
    unsafe check(pthread_mutex_lock(&sleepers.pointee.lock))
    while condition() {
      unsafe check(pthread_cond_wait(&sleepers.pointee.isChanged, &sleepers.pointee.lock))
    }
    unsafe check(pthread_mutex_unlock(&sleepers.pointee.lock))
  }

  @inline(never)
  private borrowing func wakeAll() {
    unsafe check(pthread_mutex_lock(&sleepers.pointee.lock))
    unsafe check(pthread_cond_broadcast(&sleepers.pointee.isChanged))
    unsafe check(pthread_mutex_unlock(&sleepers.pointee.lock))
  }

  private borrowing func check(_ result: CInt) {
    precondition(result == 0, "a lock without attributes is made, taken and given back")
  }

  deinit {
    unsafe pthread_cond_destroy(&sleepers.pointee.isChanged)
    unsafe pthread_mutex_destroy(&sleepers.pointee.lock)
    unsafe sleepers.deallocate()
  }
}
