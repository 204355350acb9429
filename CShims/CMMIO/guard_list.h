// SPDX-License-Identifier: Apache-2.0
// The list of guards, as the handler of signals sees it: walked without a lock while others change it.
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "cmmio_guard.h"

#define CMMIO_NO_ADDRESS UINTPTR_MAX

struct cmmio_guard {
  /// CMMIO_NO_ADDRESS while nobody uses this entry.
  _Atomic(uintptr_t) start;
  _Atomic(uintptr_t) end;
  /// The address, or CMMIO_NO_ADDRESS. All that is kept, so that telling and forgetting are one step.
  _Atomic(uintptr_t) first_fault;
  struct cmmio_guard *next;
};

/// The guard of an address, or NULL. For handlers of signals too.
struct cmmio_guard *cmmio_guard_find(uintptr_t address);
/// Prepares what the handlers need (once) and installs that of SIGBUS. 0, or -errno. Under the list's lock.
int cmmio_guard_install(void);
