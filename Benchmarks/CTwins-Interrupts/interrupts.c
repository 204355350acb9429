// SPDX-License-Identifier: Apache-2.0
#include "CTwinsInterrupts.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

// Never inlined, so that the sender costs the same in C and in Swift.
__attribute__((noinline)) void twin_signal(int event) {
  uint64_t one = 1;
  if (write(event, &one, sizeof(one)) != sizeof(one)) abort();
}

static int watching(int event, void *pointer) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event entry = {.events = EPOLLIN};
  if (pointer != NULL) {
    entry.data.ptr = pointer;
  } else {
    entry.data.fd = event;
  }
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event, &entry) < 0) abort();
  return epoll;
}

uint64_t twin_blocking(int event, uint32_t count) {
  int epoll = watching(event, NULL);
  uint64_t sum = 0;
  for (uint32_t index = 0; index != count; index++) {
    twin_signal(event);
    struct epoll_event events[16];
    int ready = epoll_wait(epoll, events, 16, -1);
    for (int at = 0; at < ready; at++) {
      uint64_t taken;
      if (read(events[at].data.fd, &taken, sizeof(taken)) == sizeof(taken)) sum += taken;
    }
  }
  close(epoll);
  return sum;
}

uint64_t twin_sending(int event, uint32_t count) {
  for (uint32_t index = 0; index != count; index++) twin_signal(event);
  uint64_t sum = 0;
  return read(event, &sum, sizeof(sum)) == sizeof(sum) ? sum : 0;
}

struct source {
  int event;
  void (*handler)(void *context, uint64_t count);
  void *context;
};

struct chain {
  int event;
  uint64_t sum, limit;
};

static void react(void *context, uint64_t count) {
  struct chain *chain = context;
  chain->sum += count;
  if (chain->sum < chain->limit) twin_signal(chain->event);
}

static void *run(void *argument) {
  struct chain *chain = argument;
  struct source source = {.event = chain->event, .handler = react, .context = chain};
  int epoll = watching(chain->event, &source);
  while (chain->sum < chain->limit) {
    struct epoll_event events[16];
    int ready = epoll_wait(epoll, events, 16, -1);
    for (int at = 0; at < ready; at++) {
      struct source *found = events[at].data.ptr;
      uint64_t taken;
      if (read(found->event, &taken, sizeof(taken)) == sizeof(taken)) found->handler(found->context, taken);
    }
  }
  close(epoll);
  return NULL;
}

uint64_t twin_reacting(int event, uint32_t count) {
  struct chain chain = {.event = event, .limit = count};
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, &chain) != 0) abort();
  twin_signal(event);
  pthread_join(thread, NULL);
  return chain.sum;
}
