// SPDX-License-Identifier: Apache-2.0
#include "guard_list.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static _Atomic(struct cmmio_guard *) guards;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

struct cmmio_guard *cmmio_guard_find(uintptr_t address) {
  for (struct cmmio_guard *guard = atomic_load(&guards); guard != NULL; guard = guard->next) {
    uintptr_t start = atomic_load(&guard->start);
    // Read again, because an entry may have got another mapping between the two reads.
    if (address >= start && address < atomic_load(&guard->end) && atomic_load(&guard->start) == start) return guard;
  }
  return NULL;
}

static struct cmmio_guard *unused(void) {
  for (struct cmmio_guard *guard = atomic_load(&guards); guard != NULL; guard = guard->next) {
    if (atomic_load(&guard->start) == CMMIO_NO_ADDRESS) return guard;
  }
  struct cmmio_guard *guard = malloc(sizeof(*guard));
  if (guard == NULL) return NULL;
  atomic_init(&guard->start, CMMIO_NO_ADDRESS);
  atomic_init(&guard->end, 0);
  guard->next = atomic_load(&guards);
  atomic_store(&guards, guard);
  return guard;
}

int cmmio_guard_open(void *base, uint64_t byteCount, struct cmmio_guard **result) {
  pthread_mutex_lock(&changing);
  int status = cmmio_guard_install();
  struct cmmio_guard *guard = status < 0 ? NULL : unused();
  if (guard != NULL) {
    atomic_store(&guard->first_fault, CMMIO_NO_ADDRESS);
    atomic_store(&guard->end, (uintptr_t)base + byteCount);
    atomic_store(&guard->start, (uintptr_t)base);
  } else if (status >= 0) {
    status = -ENOMEM;
  }
  pthread_mutex_unlock(&changing);
  *result = guard;
  return status;
}

void cmmio_guard_close(struct cmmio_guard *guard) {
  atomic_store(&guard->start, CMMIO_NO_ADDRESS);
}

int cmmio_guard_take(struct cmmio_guard *guard, uint64_t *offset) {
  uintptr_t address = atomic_exchange(&guard->first_fault, CMMIO_NO_ADDRESS);
  if (address == CMMIO_NO_ADDRESS) return 0;
  *offset = address - atomic_load(&guard->start);
  return 1;
}

void cmmio_guard_put_back(struct cmmio_guard *guard, uint64_t offset) {
  atomic_store(&guard->first_fault, atomic_load(&guard->start) + offset);
}
