// SPDX-License-Identifier: Apache-2.0
// The handlers of SIGBUS and SIGSEGV; see cmmio_guard.h. All that they call may be called in a handler.
#define _GNU_SOURCE 1
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "guard_list.h"
#include "guard_stores.h"

/// Who handled a signal before.
struct earlier {
  struct sigaction action;
  /// Installed with SA_RESETHAND, and called: from now on the default applies.
  _Atomic(int) spent;
};

static struct earlier earlier_bus, earlier_segv;
static _Atomic(int) segv_state;  // 0: not ours, 1: being installed, 2: ours
static void *ones;               // one shared page, read only; NULL until the first guard
static uintptr_t page_size;

/// Hands a signal to whoever handled it before us.
static void pass_on(struct earlier *earlier, int number, siginfo_t *info, void *context) {
  const struct sigaction *action = &earlier->action;
  int was_sent = info->si_code <= 0;  // by a process, not by an access
  int is_default = (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == SIG_DFL;
  int is_ignored = (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == SIG_IGN;
  if (is_ignored && was_sent) return;
  if (action->sa_flags & SA_RESETHAND && atomic_exchange(&earlier->spent, 1)) is_default = 1;
  if (is_default || is_ignored) {
    // An access runs again after the return and now has the default's effect; a signal that was sent is sent again.
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigaction(number, &plain, NULL);
    if (was_sent) raise(number);
  } else if (action->sa_flags & SA_SIGINFO) {
    action->sa_sigaction(number, info, context);
  } else {
    action->sa_handler(number);
  }
}

static int install(int number, void (*handler)(int, siginfo_t *, void *), struct earlier *earlier) {
  if (sigaction(number, NULL, &earlier->action) < 0) return -errno;
  // What the earlier handler wanted blocked, or not, while it runs stays so.
  struct sigaction ours = {.sa_mask = earlier->action.sa_mask};
  ours.sa_sigaction = handler;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (earlier->action.sa_flags & (SA_NODEFER | SA_RESTART));
  return sigaction(number, &ours, NULL) < 0 ? -errno : 0;
}

static void on_segv(int number, siginfo_t *info, void *context) {
  uintptr_t address = (uintptr_t)info->si_addr;
  if (info->si_code == SEGV_ACCERR && cmmio_guard_find(address) != NULL) {
    if (cmmio_step_over_store(context)) return;
    void *page = (void *)(address & ~(page_size - 1));
    if (mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) {
      memset(page, 0xff, page_size);
      return;
    }
  }
  pass_on(&earlier_segv, number, info, context);
}

/// Waits for the end of another thread's installation, which is two system calls long.
static int install_segv(void) {
  int expected = 0;
  if (atomic_compare_exchange_strong(&segv_state, &expected, 1)) {
    int status = install(SIGSEGV, on_segv, &earlier_segv);
    atomic_store(&segv_state, status < 0 ? 0 : 2);
    return status;
  }
  while (atomic_load(&segv_state) == 1) {
  }
  return atomic_load(&segv_state) == 2 ? 0 : -EAGAIN;
}

static void on_bus(int number, siginfo_t *info, void *context) {
  uintptr_t address = (uintptr_t)info->si_addr;
  struct cmmio_guard *guard = info->si_code == BUS_ADRERR ? cmmio_guard_find(address) : NULL;
  if (guard != NULL) {
    int saved = errno;
    void *page = (void *)(address & ~(page_size - 1));
    // A length of 0 maps the same shared page once more; in one step, so that no other thread sees a hole.
    int is_done = install_segv() == 0 &&
                  mremap(ones, 0, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, page) == page;
    errno = saved;
    if (is_done) {
      uintptr_t none = CMMIO_NO_ADDRESS;
      atomic_compare_exchange_strong(&guard->first_fault, &none, address);
      return;
    }
  }
  pass_on(&earlier_bus, number, info, context);
}

int cmmio_guard_install(void) {
  if (ones != NULL) return 0;
  page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
  void *page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return -errno;
  memset(page, 0xff, page_size);
  int status = mprotect(page, page_size, PROT_READ) < 0 ? -errno : install(SIGBUS, on_bus, &earlier_bus);
  if (status < 0) {
    munmap(page, page_size);
    return status;
  }
  ones = page;
  return 0;
}
