// SPDX-License-Identifier: Apache-2.0
// Swift's Mutex takes its slow path, where threads meet, in a library that ThreadSanitizer does not see into: what one
// thread did before it unlocked looks unordered to the next one. Here both are told. Tests/tier loads this before the
// libraries of what it runs, so that the programs which tests start are told too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

#define SWIFT_METHOD __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *self
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

// The sanitizer's, in programs that were built with it; the tools around them have no Mutex.
void __tsan_acquire(void *address) __attribute__((weak));
void __tsan_release(void *address) __attribute__((weak));

// The names of the library's own; these come first.
SWIFT_METHOD void tsan_mutex_lock(uint32_t seen, SELF) __asm__(LOCK);
SWIFT_METHOD bool tsan_mutex_try_lock(SELF) __asm__(TRY_LOCK);
SWIFT_METHOD void tsan_mutex_unlock(SELF) __asm__(UNLOCK);

SWIFT_METHOD void tsan_mutex_lock(uint32_t seen, SELF) {
  typedef SWIFT_METHOD void method(uint32_t seen, SELF);
  ((method *)dlsym(RTLD_NEXT, LOCK))(seen, self);
  if (__tsan_acquire) __tsan_acquire(self);
}

SWIFT_METHOD bool tsan_mutex_try_lock(SELF) {
  typedef SWIFT_METHOD bool method(SELF);
  bool is_locked = ((method *)dlsym(RTLD_NEXT, TRY_LOCK))(self);
  if (is_locked && __tsan_acquire) __tsan_acquire(self);
  return is_locked;
}

SWIFT_METHOD void tsan_mutex_unlock(SELF) {
  typedef SWIFT_METHOD void method(SELF);
  if (__tsan_release) __tsan_release(self);
  ((method *)dlsym(RTLD_NEXT, UNLOCK))(self);
}
